"""The exercises of the lessons: what is asked, how an answer is checked, and what may have gone wrong.

    catalogue      which exercises there are, and to which lesson each belongs
    ladder/        one file an exercise: its checks, the mistakes it knows, its hints, its explanation
    learners_file  runs it; what goes wrong in it is told with the line
    attempt        calls its functions with care, and holds their results against right ones
    layers         what the checks of layers share
    diagnose       two arrays that should be equal: where they differ, and what that looks like
    judge          all this in a process of its own, with a time limit
    workbook       the learner's folder: stubs, and the place in the ladder
    commands       lesson, check, hint, progress
"""
