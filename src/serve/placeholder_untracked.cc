// placeholder, untracked
