# Completion of %PROGRAM% for bash: eval "$(%PROGRAM% completion bash)"
_%PROGRAM%_completion() {
    local line kind value
    COMPREPLY=()
    while IFS= read -r line; do
        kind=${line%%,*}
        value=${line#*,}
        case $kind in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
        case $value in */|*=) compopt -o nospace 2>/dev/null ;; esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" %VARIABLE%=bash_complete "$1" 2>/dev/null)
    return 0
}
complete -o nosort -F _%PROGRAM%_completion %PROGRAM%
