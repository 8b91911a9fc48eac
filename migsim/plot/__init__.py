"""Pictures of results with matplotlib: `plot_x(data, *, ax=None) -> Axes` draws, `save_x(data, path)` writes a file.

- `prediction`, `guest_performance`, `sweep`, `size`, `tornado`: what studies answer
- `curve`, `throttle`, `xbzrle`, `bitmap`: a trace's fit, and single mechanisms
- `style`: the common colours and labels; `picture`: the files

Each module draws one kind of result. No
function opens a window, and none computes what it draws: the numbers are those of its argument, and its docstring says
where they are. Pictures of migrations of 2012 are in `migsim.history.pictures`.
"""
