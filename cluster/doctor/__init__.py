"""`dermserve doctor`: what is wrong with a server and its machine, one file for each subject.

Each gathers facts with as little code as possible and judges them with a pure function.
"""
