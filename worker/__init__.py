"""This repository's worker application: users, mail, webhooks; as anybody would write theirs."""
