"""The pages at ``/ui/``: what the HTTP API says, for a person in a browser.

A page asks the questions of `uow.questions` and renders a template; a form's target does an act of
`uow.acts` and leads back to a page. Neither decides anything that the API and the shell do not
decide likewise.

Every page is whole without the script: links, forms, tables. The script (``static/live.js``) opens
the address of the page a second time, as a stream of events, and is sent the page's *regions* that
have changed: elements with an id, rendered by the same template (`uow.api.pages.rendering`).

What comes from tasks is text: templates escape, nothing is marked as safe, and the policy that
goes with each page lets a browser run no script but ours.
"""
