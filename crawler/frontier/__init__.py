"""What to visit next, and what a visit means: the frontier, its workbench and its rules."""
