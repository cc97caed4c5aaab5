# Completion of lasca-server and its tools for fish. The options are asked of the server itself, so
# that they are those of the version that is installed.

function __lasca_server_options
    set -l program (commandline -opc)[1]
    $program --options 2>/dev/null | string replace -r '^([^\t]*)\t[^\t]*\t' -- '--$1\t'
end

function __lasca_server_values
    set -l tokens (commandline -opc)
    set -l option (string replace -r '^--' '' -- $tokens[-1])
    for line in ($tokens[1] --options 2>/dev/null)
        set -l fields (string split \t -- $line)
        if test "$fields[1]" = "$option"
            string split -n ' ' -- $fields[2]
        end
    end
end

complete -c lasca-server -a '(__lasca_server_values)'
complete -c lasca-server -n 'string match -q -- "-*" (commandline -ct)' -a '(__lasca_server_options)'
complete -c lasca-server -s h -l help -d 'The usage'
complete -c lasca-server -s v -l version -d 'The version'
complete -c lasca-check-aof -l fix -d 'Cut off an end that cannot be loaded'
complete -c lasca-check-aof -l truncate-to-timestamp -x -d 'Cut off what was written later'
complete -c lasca-check-rdb -s h -l help -d 'The usage'
complete -c lasca-check-rdb -s v -l version -d 'The version'
