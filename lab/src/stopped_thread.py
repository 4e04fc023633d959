"""Stops the main thread of the process argv[1] for as long as standard input is open."""
import ctypes
import os
import sys

SEIZE, INTERRUPT, DETACH, ALL_CHILDREN = 0x4206, 0x4207, 17, 0x40000000

pid = int(sys.argv[1])
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
if libc.ptrace(SEIZE, pid, None, None) or libc.ptrace(INTERRUPT, pid, None, None):
    print("not permitted", flush=True)
else:
    os.waitpid(pid, ALL_CHILDREN)
    print("stopped", flush=True)
    sys.stdin.read()
    libc.ptrace(DETACH, pid, None, None)
