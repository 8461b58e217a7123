"""The rungs, one file each, named as their stubs in lessons/exercises/.

    check(attempt)    raises learners_file.Wrong as long as the answer is not right
    HINTS             three, each saying more than the one before; the last leaves little to find
    EXPLANATION       what is worth knowing once it is solved
    SECONDS           that a check may take, if 10 are too few
"""
