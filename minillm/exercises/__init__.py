"""The exercises of the lessons: what is asked, how an answer is checked, and what may have gone wrong.

    catalogue      which exercises there are, and to which lesson each belongs
    ladder/        one file an exercise: its checks, the mistakes it knows, its hints, its explanation
    sources        what is imported from the learner's folder is what stands in its files now
    learners_file  runs a file; what goes wrong in it is told with the line
    attempt        calls its functions with care, and holds their results against right ones
    layers         what the checks of layers share
    diagnose       two arrays that should be equal: where they differ, and what that looks like
    judge          all this in a process of its own, with limits
    warden         ends that process, and all that comes of it
    workbook       the learner's folder: stubs, and the place in the ladder
    commands       lesson, check, hint, progress
"""
