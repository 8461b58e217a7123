"""The exercises, one file each, named as their stubs in lessons/exercises/.

    check(attempt)    raises learners_file.Wrong if the answer is not right
    HINTS             three, each of which says more than the one before; the last one almost gives the answer
    EXPLANATION       what is worth knowing once the exercise is solved
    SECONDS           that a check may take, if 10 are too few
"""
