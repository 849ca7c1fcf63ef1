x = '\ud800'
y = undefined_here
