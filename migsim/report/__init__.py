"""Tables of predictions, simulated migrations, comparisons, profiles and fits for a terminal, printed with rich.

Each function prints to the console that it is given. `tables` has a function for each kind of result, `rounds` the one
for a single simulated migration with all its rounds. Nothing is computed here: the figures are those of the result.
Pictures are in `migsim.plot`, tables of notebooks in `migsim.html`.
"""
