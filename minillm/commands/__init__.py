"""The commands. Each parses its options, calls a function of another package, and prints; its file is named after it.

The file of a command has
    SUMMARY             a line for --help
    EXAMPLES            arguments that may follow `minillm NAME`; a test parses each of them
    add_options(parser)
    run(args)           runs the command and prints; returns an exit code, or None for 0
and if it applies
    NOTES               a text below the examples
    WRITES_FILES        True if the results go into files: then the command continues when its output is closed
    IF_INTERRUPTED      what to add to the message "interrupted"

Shared by the commands:
    app          main: the parser of all commands, errors and exit codes
    parsing      argparse as it is used here
    options      types of options, and groups of them
    recipes      options for a method of fine-tuning or a remedy against forgetting
    architecture  options that choose what a new model is built of
    inputs       options for a base, a task or an optimizer, and the objects they stand for
    resuming     --resume: the options of the interrupted run
    output       standard output and standard error, and what a training command prints at the end
    workbook     what the commands for learners have in common

To add a command, add its file and its name in COMMANDS, which also gives the order in --help.
"""

COMMANDS = ("demo", "pretrain", "finetune", "inspect", "merge", "import", "export", "compare", "evaluate", "generate", "surface",
            "sharpness", "report", "gallery", "lesson", "check", "hint", "progress", "gradcheck", "bench")
