"""The commands: parse, call, print. One file for each, named as the command is typed; what they call stands on the floors below.

The file of a command has
    SUMMARY             a line for --help
    EXAMPLES            what may follow `minillm NAME`; a test parses each of them
    add_options(parser)
    run(args)           does it and prints; returns an exit code, or None for 0
and, where it applies,
    NOTES               a text below the examples
    WRITES_FILES        True if the results go into files: then the command carries on when nobody reads its output any more
    IF_INTERRUPTED      what to add to "interrupted"

Several of them share
    app          main: the parser of all commands, errors and exit codes
    parsing      argparse as it is used here
    options      types of options, and groups of them
    recipes      options that name a way of fine-tuning or a remedy
    inputs       options that name a base, a task or an optimizer, and what these become
    resuming     --resume: the options of the run that was interrupted
    output       standard output and standard error, and what a training command prints in the end
    workbook     what a learner's commands have in common

A new command is a new file and its name in this list, which is also the order in --help.
"""

COMMANDS = ("demo", "pretrain", "finetune", "inspect", "merge", "compare", "evaluate", "generate", "surface", "sharpness",
            "report", "gallery", "lesson", "check", "hint", "progress", "gradcheck", "bench")
