"""arq's own engine: what it needs so that tasks are as safe under it as under ours."""
