"""The batch engine: the event engine's loop for thousands of migrations, compiled.

- `grid`: the entry: many inputs, or one input with columns that vary
- `cells`, `columns`, `layout`: inputs gathered into records of numbers, and the guest laid out
- `loop`: one migration, in the order of `migsim.engine.events.precopy`; read it first
- `windows`, `sending`, `left`, `memory`, `clock`, `cache`, `xbzrle`, `multifd`, `verdict`, `end`: its parts
- `records`: the records that the compiled loop reads and writes; `compile`, `run`: how it is compiled and run
- `result`: what comes out, a column a figure

It is the readable twin of `migsim.engine.events`: the laws are the same functions, the order of things is written
twice, and `tests/engine/batch` holds both to 0.1 % over random scenarios.
"""
