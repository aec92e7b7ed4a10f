# Completion of %PROGRAM% for fish: %PROGRAM% completion fish | source
function _%PROGRAM%_completion
    set -l answer (env %VARIABLE%=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) %PROGRAM% 2>/dev/null)
    for line in $answer
        set -l parts (string split -m 1 "," -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %PROGRAM% --arguments "(_%PROGRAM%_completion)"
