from subprocess import run

x = run(['touch', 'canary'])
