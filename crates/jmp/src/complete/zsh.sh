#compdef %PROGRAM%
# Completion of %PROGRAM% for zsh: eval "$(%PROGRAM% completion zsh)"
_%PROGRAM%_completion() {
    local -a answer plain described
    local kind value help
    (( ! $+commands[%PROGRAM%] )) && return 1
    answer=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) %VARIABLE%=zsh_complete %PROGRAM% 2>/dev/null)}")
    for kind value help in ${answer}; do
        case $kind in
            plain)
                if [[ $help == "_" ]]; then plain+=("$value"); else described+=("${value//:/\\:}:$help"); fi
                ;;
            dir) _path_files -/ ;;
            file) _path_files -f ;;
        esac
    done
    [[ -n $described ]] && _describe -V unsorted described -U
    [[ -n $plain ]] && compadd -U -V unsorted -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _%PROGRAM%_completion "$@"
else
    compdef _%PROGRAM%_completion %PROGRAM%
fi
