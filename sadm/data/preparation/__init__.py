"""From a folder as people have it to a list that can be trained on, and a page that says what is wrong with it."""
