"""Pictures of results with matplotlib: `plot_x(data, *, ax=None) -> Axes` draws, `save_x(data, path)` writes a file.

Each module draws one kind of result. `style` has the common colours and labels, `picture` writes the files. No
function opens a window, and none computes what it draws: the numbers are those of its argument, and its docstring says
where they are. Pictures of migrations of 2012 are in `migsim.history.pictures`.
"""
