"""The exercises of the lessons: what is asked, how an answer is checked, and what a wrong answer may come from.

    catalogue      the list of exercises, and the lesson of each
    ladder/        one file for each exercise: its checks, the mistakes it recognises, its hints and its explanation
    sources        imports from the learner's folder use the files as they are now, never old bytecode
    learners_file  runs a learner's file; errors in it are reported with their line
    attempt        calls its functions and compares their results with the right ones
    layers         shared by the checks of layers
    diagnose       compares two arrays: where they differ, and what may be the cause
    judge          runs a check in a process of its own, with limits
    warden         ends that process and all processes that it has started
    workbook       the learner's folder: copies of the stubs, and the progress
    commands       lesson, check, hint, progress
"""
