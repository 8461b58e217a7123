"""argparse as it is used here: errors are raised instead of printed, and help shows defaults."""

import argparse


class BadOption(ValueError):
    """The command line is wrong. `prog` is the command, as far as it is known."""

    def __init__(self, prog, message):
        super().__init__(message)
        self.prog = prog


class Parser(argparse.ArgumentParser):
    """A parser that raises BadOption, so that all errors are printed in one place."""

    def error(self, message):
        raise BadOption(self.prog, f"error: {message}; {self.prog} --help shows what there is")


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that shows the default of each option that has one, and keeps the line breaks of examples and notes."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)
