# Completion of lasca-server and its tools for bash. The options are asked of the server itself, so
# that they are those of the version that is installed.

_lasca_server_words() {
    "${1:-lasca-server}" --options 2>/dev/null | awk -F '\t' -v name="$2" '
        name == "" { print "--" $1 }
        name == $1 { print $2 }'
}

_lasca_server() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} program=$1 words
    COMPREPLY=()
    if [[ $before == --* ]]; then
        words=$(_lasca_server_words "$program" "${before#--}")
        if [[ -n $words ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
            return
        fi
    fi
    if [[ $word == -* ]]; then
        words="$(_lasca_server_words "$program" "")"
        if [[ $COMP_CWORD -eq 1 ]]; then
            words+=" -h --help -v --version --options --conf-default --conf-man --commands-md"
        fi
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

_lasca_check_aof() {
    local word=${COMP_WORDS[COMP_CWORD]}
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--fix --truncate-to-timestamp" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

_lasca_check_rdb() {
    local word=${COMP_WORDS[COMP_CWORD]}
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "-v --version -h --help" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -o filenames -F _lasca_server lasca-server
complete -o filenames -F _lasca_check_aof lasca-check-aof
complete -o filenames -F _lasca_check_rdb lasca-check-rdb
