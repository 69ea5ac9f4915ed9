# fish completion for lanfs. Made from the command tables by the tests; do not edit.

function __lanfs_needs_command
    test (count (commandline -opc)) -eq 1
end

function __lanfs_command_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
end

# The names in the keys folder.
function __lanfs_keys
    set -l folder $HOME/.config
    set -q XDG_CONFIG_HOME; and set folder $XDG_CONFIG_HOME
    for file in $folder/lanfs/keys/*.key
        string replace -r '.*/(.*)\.key$' '$1' -- $file
    end
end

function __lanfs_mount_words
    printf '%s\n' ro rw allow_other allow_root nonempty auto_unmount fsname= key= server= timeout= discovery-port= cache-memory= create suid nosuid dev nodev exec noexec async sync dirsync context= fscontext= defcontext= rootcontext= default_permissions noatime atime nodiratime diratime relatime norelatime strictatime nostrictatime lazytime nolazytime iversion noiversion nomand silent loud defaults auto noauto user nouser users nousers owner noowner group nogroup nofail fail _netdev subtype= comment= uhelper=
end

complete -c lanfs -f
complete -c lanfs -n __lanfs_needs_command -a serve -d 'lend this machine\'s disk'
complete -c lanfs -n __lanfs_needs_command -a discover -d 'list the servers on the LAN'
complete -c lanfs -n __lanfs_needs_command -a mount -d 'mount the volume as a folder'
complete -c lanfs -n __lanfs_needs_command -a put -d 'copy files into the volume'
complete -c lanfs -n __lanfs_needs_command -a get -d 'copy files out of the volume'
complete -c lanfs -n __lanfs_needs_command -a ls -d 'list files of the volume'
complete -c lanfs -n __lanfs_needs_command -a rm -d 'delete files of the volume'
complete -c lanfs -n __lanfs_needs_command -a status -d 'show how the volume and its servers are'
complete -c lanfs -n __lanfs_needs_command -a drain -d 'take a server out of the volume'
complete -c lanfs -n __lanfs_needs_command -a keygen -d 'make a volume\'s key'
complete -c lanfs -n __lanfs_needs_command -a help -d 'explain a command'
complete -c lanfs -n __lanfs_needs_command -l help -d 'show the commands'
complete -c lanfs -n __lanfs_needs_command -l version -d 'show the version'

complete -c lanfs -n '__lanfs_command_is serve' -s d -l data-dir -x -a '(__fish_complete_directories)' -d 'where to keep the identity and the blocks'
complete -c lanfs -n '__lanfs_command_is serve' -s c -l capacity -x -d 'give at most so much (default: what the disk has)'
complete -c lanfs -n '__lanfs_command_is serve' -s n -l name -x -d 'the name to show to clients (default: the host\'s)'
complete -c lanfs -n '__lanfs_command_is serve' -s a -l allow -x -d 'admit this volume, and only listed ones'
complete -c lanfs -n '__lanfs_command_is serve' -s l -l listen -x -d 'listen on this address only; may be repeated'
complete -c lanfs -n '__lanfs_command_is serve' -s p -l port -x -d 'the TCP port to listen on (default: any free one)'
complete -c lanfs -n '__lanfs_command_is serve' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is serve' -l quarantine -x -d 'keep deleted blocks for so long (default: 24h)'
complete -c lanfs -n '__lanfs_command_is serve' -l grace -x -d 'how long another server may be away (default: 15m)'
complete -c lanfs -n '__lanfs_command_is serve' -l witness -d 'keep no blocks, only votes'
complete -c lanfs -n '__lanfs_command_is serve' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is serve' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is serve' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is serve' -l version -d 'show the version and exit'

complete -c lanfs -n '__lanfs_command_is discover' -s n -l need -x -d 'show only servers with so much room'
complete -c lanfs -n '__lanfs_command_is discover' -s w -l wait -x -d 'listen for so long (default: 1s)'
complete -c lanfs -n '__lanfs_command_is discover' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is discover' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is discover' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is discover' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is discover' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is discover' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is discover' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is discover' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is discover' -l version -d 'show the version and exit'

complete -c lanfs -n '__lanfs_command_is mount' -l serve -d 'also serve the volume from this machine\'s disk'
complete -c lanfs -n '__lanfs_command_is mount' -s d -l data-dir -x -a '(__fish_complete_directories)' -d 'with --serve: where to keep the blocks'
complete -c lanfs -n '__lanfs_command_is mount' -s c -l capacity -x -d 'with --serve: give at most so much'
complete -c lanfs -n '__lanfs_command_is mount' -s f -l foreground -d 'stay in the foreground'
complete -c lanfs -n '__lanfs_command_is mount' -s o -l options -x -a '(__fish_complete_list , __lanfs_mount_words)' -d 'mount options, as in fstab'
complete -c lanfs -n '__lanfs_command_is mount' -s r -l read-only -d 'mount read-only'
complete -c lanfs -n '__lanfs_command_is mount' -l snapshot -x -d 'show a snapshot that a recovery left behind'
complete -c lanfs -n '__lanfs_command_is mount' -l create -d 'make the volume if no server knows it'
complete -c lanfs -n '__lanfs_command_is mount' -l replicas -x -d 'copies of each block (2 in a new volume)'
complete -c lanfs -n '__lanfs_command_is mount' -l recover-force -d 'go on although servers that vote are lost for good'
complete -c lanfs -n '__lanfs_command_is mount' -l cache-memory -x -d 'memory for the cache (default: 256MiB)'
complete -c lanfs -n '__lanfs_command_is mount' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is mount' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is mount' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is mount' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is mount' -l timeout -x -d 'fail what has waited so long for a server with EIO'
complete -c lanfs -n '__lanfs_command_is mount' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is mount' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is mount' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is mount' -l version -d 'show the version and exit'
complete -c lanfs -n '__lanfs_command_is mount' -a '(__fish_complete_directories)'

complete -c lanfs -n '__lanfs_command_is put' -s r -l recursive -d 'copy folders with all they contain'
complete -c lanfs -n '__lanfs_command_is put' -s f -l force -d 'replace files that exist'
complete -c lanfs -n '__lanfs_command_is put' -l create -d 'make the volume if no server knows it'
complete -c lanfs -n '__lanfs_command_is put' -l replicas -x -d 'copies of each block (2 in a new volume)'
complete -c lanfs -n '__lanfs_command_is put' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is put' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is put' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is put' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is put' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is put' -l timeout -x -d 'give up when no server answers (default: 30s)'
complete -c lanfs -n '__lanfs_command_is put' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is put' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is put' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is put' -l version -d 'show the version and exit'
complete -c lanfs -n '__lanfs_command_is put' -F

complete -c lanfs -n '__lanfs_command_is get' -s r -l recursive -d 'copy folders with all they contain'
complete -c lanfs -n '__lanfs_command_is get' -s f -l force -d 'replace files that exist'
complete -c lanfs -n '__lanfs_command_is get' -l snapshot -x -d 'show a snapshot that a recovery left behind'
complete -c lanfs -n '__lanfs_command_is get' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is get' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is get' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is get' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is get' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is get' -l timeout -x -d 'give up when no server answers (default: 30s)'
complete -c lanfs -n '__lanfs_command_is get' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is get' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is get' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is get' -l version -d 'show the version and exit'
complete -c lanfs -n '__lanfs_command_is get' -F

complete -c lanfs -n '__lanfs_command_is ls' -s l -l long -d 'show type, mode, links, owner, size and time'
complete -c lanfs -n '__lanfs_command_is ls' -s R -l recursive -d 'list folders with all they contain'
complete -c lanfs -n '__lanfs_command_is ls' -s a -l all -d 'show names that start with a dot'
complete -c lanfs -n '__lanfs_command_is ls' -s h -l human-readable -d 'with -l: sizes as 1.5M instead of bytes'
complete -c lanfs -n '__lanfs_command_is ls' -s 1 -l one-per-line -d 'one name a line, also on a terminal'
complete -c lanfs -n '__lanfs_command_is ls' -l snapshot -x -d 'show a snapshot that a recovery left behind'
complete -c lanfs -n '__lanfs_command_is ls' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is ls' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is ls' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is ls' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is ls' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is ls' -l timeout -x -d 'give up when no server answers (default: 30s)'
complete -c lanfs -n '__lanfs_command_is ls' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is ls' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is ls' -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is ls' -l version -d 'show the version and exit'

complete -c lanfs -n '__lanfs_command_is rm' -s r -l recursive -d 'delete folders with all they contain'
complete -c lanfs -n '__lanfs_command_is rm' -s f -l force -d 'what does not exist is no error'
complete -c lanfs -n '__lanfs_command_is rm' -l snapshot -x -d 'drop this snapshot instead of deleting files'
complete -c lanfs -n '__lanfs_command_is rm' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is rm' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is rm' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is rm' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is rm' -l timeout -x -d 'give up when no server answers (default: 30s)'
complete -c lanfs -n '__lanfs_command_is rm' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is rm' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is rm' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is rm' -l version -d 'show the version and exit'

complete -c lanfs -n '__lanfs_command_is status' -s w -l watch -d 'show it again every two seconds'
complete -c lanfs -n '__lanfs_command_is status' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is status' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is status' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is status' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is status' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is status' -l timeout -x -d 'give up when no server answers (default: 30s)'
complete -c lanfs -n '__lanfs_command_is status' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is status' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is status' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is status' -l version -d 'show the version and exit'

complete -c lanfs -n '__lanfs_command_is drain' -l cancel -d 'take the server back into the volume'
complete -c lanfs -n '__lanfs_command_is drain' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is drain' -s k -l key -r -F -a '(__lanfs_keys)' -d 'use this key, a name or a file (default: default)'
complete -c lanfs -n '__lanfs_command_is drain' -s u -l user -x -d 'derive the key from NAME and a password instead'
complete -c lanfs -n '__lanfs_command_is drain' -s s -l server -x -a '(__fish_print_hostnames)' -d 'also ask this server; may be repeated'
complete -c lanfs -n '__lanfs_command_is drain' -l discovery-port -x -d 'the UDP port of discovery (default: 4444)'
complete -c lanfs -n '__lanfs_command_is drain' -l timeout -x -d 'give up when no server answers (default: 30s)'
complete -c lanfs -n '__lanfs_command_is drain' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is drain' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is drain' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is drain' -l version -d 'show the version and exit'

complete -c lanfs -n '__lanfs_command_is keygen' -s u -l user -x -d 'derive the key from NAME and a password'
complete -c lanfs -n '__lanfs_command_is keygen' -l export -d 'print an existing key as words to write down'
complete -c lanfs -n '__lanfs_command_is keygen' -l import -d 'make the key from such words, read from stdin'
complete -c lanfs -n '__lanfs_command_is keygen' -l show-id -d 'print the volume id of an existing key'
complete -c lanfs -n '__lanfs_command_is keygen' -s o -l output -r -F -d 'write the key to FILE, not the keys folder'
complete -c lanfs -n '__lanfs_command_is keygen' -l json -d 'write the result as JSON on standard output'
complete -c lanfs -n '__lanfs_command_is keygen' -s q -l quiet -d 'say nothing but errors; show no progress'
complete -c lanfs -n '__lanfs_command_is keygen' -s v -l verbose -d 'say what is being done'
complete -c lanfs -n '__lanfs_command_is keygen' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is keygen' -l version -d 'show the version and exit'
complete -c lanfs -n '__lanfs_command_is keygen' -F -a '(__lanfs_keys)'

complete -c lanfs -n '__lanfs_command_is help' -s h -l help -d 'show this help and exit'
complete -c lanfs -n '__lanfs_command_is help' -l version -d 'show the version and exit'
complete -c lanfs -n '__lanfs_command_is help' -a 'serve discover mount put get ls rm status drain keygen'
