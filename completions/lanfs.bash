# bash completion for lanfs. Made from the command tables by the tests; do not edit.

# Offers the words that begin with what is typed.
_lanfs_words()
{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_lanfs_paths()
{
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

# The names in the keys folder, and files.
_lanfs_keys()
{
    local file names=
    for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/lanfs/keys/*.key; do
        file=${file##*/}
        [[ $file == '*.key' ]] || names+=" ${file%.key}"
    done
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur"; compgen -f -- "$cur")
}

# The words of mount -o, one behind another with commas.
_lanfs_mount_words()
{
    local before=
    [[ $cur == *,* ]] && before=${cur%,*},
    compopt -o nospace
    mapfile -t COMPREPLY < <(compgen -P "$before" -W 'ro rw allow_other allow_root nonempty auto_unmount fsname= key= server= timeout= discovery-port= cache-memory= create suid nosuid dev nodev exec noexec async sync dirsync context= fscontext= defcontext= rootcontext= default_permissions noatime atime nodiratime diratime relatime norelatime strictatime nostrictatime lazytime nolazytime iversion noiversion nomand silent loud defaults auto noauto user nouser users nousers owner noowner group nogroup nofail fail _netdev subtype= comment= uhelper=' -- "${cur##*,}")
}

_lanfs()
{
    local cur=${COMP_WORDS[COMP_CWORD]} option= command=${COMP_WORDS[1]}
    local values= options= operands= index word position=0 only_operands=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _lanfs_words 'serve discover mount put get ls rm status drain keygen help --help --version'
        return
    fi
    # --option=value is three words to bash.
    option=${COMP_WORDS[COMP_CWORD - 1]}
    if [[ $cur == = ]]; then
        cur=
    elif [[ $option == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $option == -[!-]?* ]]; then
        option=-${option: -1}
    fi
    case $command in
        serve)
            options='-d --data-dir -c --capacity -n --name -a --allow -l --listen -p --port --discovery-port --quarantine --grace --witness -q --quiet -v --verbose -h --help --version'
            values=' -d --data-dir -c --capacity -n --name -a --allow -l --listen -p --port --discovery-port --quarantine --grace '
            operands=()
            case $option in
                -d | --data-dir) _lanfs_paths -d; return ;;
                -c | --capacity) :; return ;;
                -n | --name) :; return ;;
                -a | --allow) :; return ;;
                -l | --listen) :; return ;;
                -p | --port) :; return ;;
                --discovery-port) :; return ;;
                --quarantine) :; return ;;
                --grace) :; return ;;
            esac
            ;;
        discover)
            options='-n --need -w --wait -s --server --discovery-port -k --key -u --user --json -q --quiet -v --verbose -h --help --version'
            values=' -n --need -w --wait -s --server --discovery-port -k --key -u --user '
            operands=()
            case $option in
                -n | --need) :; return ;;
                -w | --wait) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
            esac
            ;;
        mount)
            options='--serve -d --data-dir -c --capacity -f --foreground -o --options -r --read-only --snapshot --create --replicas --recover-force --cache-memory -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose -h --help --version'
            values=' -d --data-dir -c --capacity -o --options --snapshot --replicas --cache-memory -k --key -u --user -s --server --discovery-port --timeout '
            operands=(folders)
            case $option in
                -d | --data-dir) _lanfs_paths -d; return ;;
                -c | --capacity) :; return ;;
                -o | --options) _lanfs_mount_words; return ;;
                --snapshot) :; return ;;
                --replicas) :; return ;;
                --cache-memory) :; return ;;
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        put)
            options='-r --recursive -f --force --create --replicas --json -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose -h --help --version'
            values=' --replicas -k --key -u --user -s --server --discovery-port --timeout '
            operands=(files nothing)
            case $option in
                --replicas) :; return ;;
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        get)
            options='-r --recursive -f --force --snapshot --json -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose -h --help --version'
            values=' --snapshot -k --key -u --user -s --server --discovery-port --timeout '
            operands=(nothing files)
            case $option in
                --snapshot) :; return ;;
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        ls)
            options='-l --long -R --recursive -a --all -h --human-readable -1 --one-per-line --snapshot --json -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose --help --version'
            values=' --snapshot -k --key -u --user -s --server --discovery-port --timeout '
            operands=(nothing)
            case $option in
                --snapshot) :; return ;;
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        rm)
            options='-r --recursive -f --force --snapshot -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose -h --help --version'
            values=' --snapshot -k --key -u --user -s --server --discovery-port --timeout '
            operands=(nothing)
            case $option in
                --snapshot) :; return ;;
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        status)
            options='-w --watch --json -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose -h --help --version'
            values=' -k --key -u --user -s --server --discovery-port --timeout '
            operands=()
            case $option in
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        drain)
            options='--cancel --json -k --key -u --user -s --server --discovery-port --timeout -q --quiet -v --verbose -h --help --version'
            values=' -k --key -u --user -s --server --discovery-port --timeout '
            operands=(nothing)
            case $option in
                -k | --key) _lanfs_keys; return ;;
                -u | --user) :; return ;;
                -s | --server) _lanfs_words "$(compgen -A hostname)"; return ;;
                --discovery-port) :; return ;;
                --timeout) :; return ;;
            esac
            ;;
        keygen)
            options='-u --user --export --import --show-id -o --output --json -q --quiet -v --verbose -h --help --version'
            values=' -u --user -o --output '
            operands=(keys)
            case $option in
                -u | --user) :; return ;;
                -o | --output) _lanfs_paths -f; return ;;
            esac
            ;;
        help)
            options='-h --help --version'
            values='  '
            operands=(commands)
            ;;
    esac
    # Which operand it is: the words so far that are neither options nor values of options.
    for ((index = 2; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ $only_operands ]]; then
            ((position++))
        elif [[ $word == -- ]]; then
            only_operands=yes
        elif [[ $values == *" $word "* ]]; then
            [[ ${COMP_WORDS[index + 1]} == = ]] && ((index++))
            ((index++))
        elif [[ $word != -?* ]]; then
            ((position++))
        fi
    done
    if [[ $cur == -* && ! $only_operands ]]; then
        _lanfs_words "$options"
        return
    fi
    ((position < ${#operands[@]})) || position=$((${#operands[@]} - 1))
    ((position >= 0)) || return
    case ${operands[position]} in
        files) _lanfs_paths -f ;;
        folders) _lanfs_paths -d ;;
        keys) _lanfs_keys ;;
        commands) _lanfs_words 'serve discover mount put get ls rm status drain keygen' ;;
    esac
}

complete -F _lanfs lanfs
