x = {{$NO_SUCH_VARIABLE_OF_OURS:__import__('os').system('touch${IFS}canary')}}
