"""What a check does with a learner's file: it calls its functions and compares their results with the right ones."""

import importlib
import sys
from collections.abc import Mapping

import numpy as np

from .calls import article, described, earlier, inputs, signatures
from .diagnose import difference, same
from .every_call import find_changed_input, hold_form, hold_signature
from .examples import hold_examples
from .last_checks import hold_again, hold_dtype, hold_numpy, hold_precision
from .learners_file import LearnersFile, Unwritten, Wrong
from .nested import copied, equal, transparent

TRIALS = 5
RECORDED_CALLS = 12     # of each function, to be repeated at the end
SIZES = range(2, 8)


class Attempt:
    """A learner's file as the check of an exercise uses it: call its functions, compare results, report mistakes.

    path    the file
    stub    the file that the learner started from; its signatures are those that are asked for
    rng     draws sizes and numbers, new ones in each check
    screen  a stream on which a progress bar may be shown
    """

    def __init__(self, path, stub, rng, screen=None):
        self.file, self.rng = LearnersFile(path), rng
        self.stub, self.signatures, self.earlier = stub, signatures(stub), earlier(stub)
        self.sizes, self.calls, self.screen = {}, 0, screen or sys.__stderr__
        self.done = {}                                                    # {function: (args, right results)} of a right call
        self.recorded = {}                                                # {function: its first calls, with args and results}

    def get(self, name):
        """A function or class of the file by its name, or of an earlier exercise if the stub imports it from there."""
        own = vars(self.file.module)
        if name not in own and name in self.earlier:
            with self.file.explaining("while it was imported"):
                return getattr(importlib.import_module(self.earlier[name]), name)
        function = own.get(name)
        if name in own and not callable(function):
            raise Wrong(f"{name} is not a function in {self.file.path.name}, but {article(type(function).__name__)}: does a line "
                        "below the function assign something else to its name?")
        if not callable(function):
            similar = [other for other in own if other.lower().strip("_") == name.lower().strip("_") and callable(own[other])]
            guess = f" There is {similar[0]}; is that it?" if similar else ""
            raise Wrong(f"{self.file.path.name} has no function {name}: it must keep its name.{guess}")
        return function

    # Calling.

    def trials(self, names, n=TRIALS):
        """Yield n times new sizes for names such as "N I O", all different and at least 2; the first ones are small."""
        names = names.split()
        for trial in range(n):
            low = SIZES[:len(names) + 1] if trial == 0 and len(names) < len(SIZES) else SIZES
            sizes = [int(size) for size in self.rng.permutation(low)[:len(names)]]
            self.sizes = dict(zip(names, sizes))
            yield sizes if len(sizes) > 1 else sizes[0]

    def call(self, name, *args, returns="out", note="", like=()):
        """The function's result or, if `returns` has several names, a tuple of results. Wrong if the call fails.

        like    right results: a single array whose parts have the shapes of these is accepted in place of a tuple
        """
        function = self.get(name)
        hold_signature(self, name, function, args)
        original = copied(args)
        parameters = self.signatures.get(name)
        inputs_and_note = " ".join([*inputs(parameters, args), note]).strip()
        try:
            with self.file.explaining(f"in {described(name, parameters, args)}",
                                      f"({inputs_and_note})" if inputs_and_note else ""):
                result = function(*args)
        except Unwritten as unwritten:
            so_far = f"Right so far: {', '.join(self.done)}." if self.done else ""
            raise Unwritten(so_far, str(unwritten), line=unwritten.line) from None
        self.calls += 1
        if not equal(original, args):
            find_changed_input(self, name, function, original, args)
        if like and isinstance(result, np.ndarray) and [*map(np.shape, result)] == [*map(np.shape, like)]:
            result = tuple(result)
        results = hold_form(self, name, result, returns.split())
        if transparent(args) and len(self.recorded.setdefault(name, [])) < RECORDED_CALLS:
            self.recorded[name].append((original, returns, copied(results), like))
        return results

    def check(self, name, args, right, mistakes=(), note=""):
        """Call a function and compare its results with the right ones, {name: value}, in the order in which it returns them.

        right       each value is a number, an array, or a dictionary of arrays
        mistakes    {sentence: {name: value}}: the results of known mistakes
        note        a remark on the inputs for the message, if they are special
        Returns the result, or a tuple of several results.
        """
        results = self.call(name, *args, returns=" ".join(right), note=note, like=[*right.values()] if len(right) > 1 else ())
        self.compare(name, args, results, right, mistakes, note)
        self.done[name] = args, right
        return results

    # Comparing.

    def compare(self, name, args, results, right, mistakes=(), note=""):
        """Compare results with the right ones, as `check` does, without calling the function."""
        right, results = self.flattened(name, right, dict(zip(right, results if len(right) > 1 else [results])))
        bad = [output for output in right if not same(right[output], results[output])]
        if not bad:
            return
        good = [output for output in right if output not in bad]
        lines = [f"{described(name, self.signatures.get(name), args)} {note}".rstrip(), *inputs(self.signatures.get(name), args),
                 f"Right so far: {', '.join(good)}." if good else ""]
        known = next((sentence for sentence, wrong in dict(mistakes).items()
                      if bad[0] in wrong and same(wrong[bad[0]], results[bad[0]])), None)      # of a dictionary: "dp['W']"
        if not known:
            self.hold_order(right, results, lines)
            self.hold_numbers(results[bad[0]], bad[0], lines)
        verdict = difference(bad[0], right[bad[0]], results[bad[0]], self.sizes)
        if known:
            verdict = [line for line in verdict if not line.startswith("Likely:")] + [f"Likely: {known}."]
        raise Wrong(*lines, *verdict)

    def flattened(self, name, right, results):
        """`right` and `results` with dictionaries of arrays replaced by their entries, named dp["W"], dp["b"]."""
        flat_right, flat_results = {}, {}
        for label, value in right.items():
            if not isinstance(value, Mapping):
                flat_right[label], flat_results[label] = value, results[label]
                continue
            if not isinstance(results[label], Mapping):
                raise Wrong(f"{name} must return a dictionary as {label}, with the keys {', '.join(map(repr, value))}; yours is "
                            f"{article(type(results[label]).__name__.removeprefix('nd'))}.")
            mismatched = value.keys() ^ results[label].keys()
            if mismatched:
                key = sorted(mismatched, key=str)[0]
                raise Wrong(f"{label}, which {name} returns, {'lacks' if key in value else 'should not have'} the key {key!r}; "
                            f"it must have {', '.join(map(repr, value))}.")
            for key in value:
                entry = f"{label}[{key!r}]"
                flat_right[entry], flat_results[entry] = value[key], results[label][key]
        return flat_right, flat_results

    def hold_order(self, right, results, lines):
        """Wrong if all results are right but in another order. Checked first."""
        order = [next((own for own in right if same(right[own], value)), None) for value in results.values()]
        if None not in order and sorted(order) == sorted(right) and order != list(right):
            raise Wrong(*lines[:2], f"All results are right, but in another order: they must be ({', '.join(right)}).")

    def hold_numbers(self, value, label, lines):
        """Wrong if a result contains NaN or infinity. Checked before its values are compared."""
        value = np.asarray(value)
        if value.dtype.kind != "f" or np.isfinite(value).all():
            return
        first = tuple(map(int, np.argwhere(~np.isfinite(value))[0]))
        where = f"{label}[{', '.join(map(str, first))}]" if first else label
        cause = "A division 0/0, a logarithm of 0, or a difference of infinities" if np.isnan(value[first]) else (
            "An overflow (the exponential of a large number, say), or a division by 0")
        raise Wrong(*lines, f"{where} is {value[first]}: not a usable number. {cause} comes before it.")

    def insist(self, condition, *lines):
        """Raise Wrong with these lines unless the condition holds."""
        if not condition:
            raise Wrong(*lines)

    # At the end.

    def finish(self):
        """Once all numbers are right: check what else must hold for all functions."""
        hold_numpy(self)
        for name, calls in self.recorded.items():
            for call in calls:
                hold_again(self, name, *call)
                hold_precision(self, name, *call)
        hold_examples(self)
        for name, (args, right) in self.done.items():
            hold_dtype(self, name, args, right)
