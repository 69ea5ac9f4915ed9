/// One word of `mount -o`, as it stands in an fstab.
struct MountWord: Sendable {
    enum Role: Sendable {
        /// Handed to the kernel as it is.
        case kernel
        /// Changes what lanfs does.
        case own
        /// Meant for mount(8), systemd or the boot scripts; accepted and without effect here.
        case ignored
        /// What cannot be had; `help` says what to do instead.
        case refused
    }

    let name: String
    /// What its value is called; nil when it has none.
    let metavar: String?
    let role: Role
    let help: String

    private init(_ name: String, _ metavar: String?, _ role: Role, _ help: String) {
        self.name = name
        self.metavar = metavar
        self.role = role
        self.help = help
    }

    private init(_ name: String, _ role: Role, _ help: String) { self.init(name, nil, role, help) }

    static let table: [MountWord] = [
        MountWord("ro", .own, "Mount read-only, as `--read-only`."),
        MountWord("rw", .own, "Mount for reading and writing, the default."),
        MountWord("allow_other", .own, "Let other users in. Needs `user_allow_other` in fuse.conf unless root mounts."),
        MountWord("allow_root", .own, "Let root in besides the user who mounts. Needs the same setting."),
        MountWord("nonempty", .own, "Mount also on a folder that is not empty; what is in it is hidden meanwhile."),
        MountWord("auto_unmount", .own, "Unmount at once when the process dies. Needs fusermount3(1), also for root."),
        MountWord(
            "fsname", "NAME", .own,
            "The first column of df(1) and mount(8), behind `lanfs:`; the start of the volume's id by default."),
        MountWord("key", "NAME|FILE", .own, "As `--key`."),
        MountWord("server", "HOST[:PORT]", .own, "As `--server`; may be repeated."),
        MountWord("timeout", "DURATION", .own, "As `--timeout`."),
        MountWord("discovery-port", "PORT", .own, "As `--discovery-port`."),
        MountWord("cache-memory", "SIZE", .own, "As `--cache-memory`."),
        MountWord("create", .own, "As `--create`."),
        MountWord("suid", .kernel, "Honour set-user-id bits; only where root mounts."),
        MountWord("nosuid", .kernel, "Ignore set-user-id bits, the default."),
        MountWord("dev", .kernel, "Honour device files; only where root mounts."),
        MountWord("nodev", .kernel, "Ignore device files, the default."),
        MountWord("exec", .kernel, "Let programs be run, the default."),
        MountWord("noexec", .kernel, "Let no program be run."),
        MountWord("async", .kernel, "Save changes in the background, the default: see WHEN CHANGES ARE SAFE."),
        MountWord("sync", .kernel, "Save each change before its call returns; much slower."),
        MountWord("dirsync", .kernel, "The same for changes of names only: what is made, linked, renamed or removed."),
        MountWord("context", "CONTEXT", .kernel, "The SELinux context of every file."),
        MountWord("fscontext", "CONTEXT", .kernel, "The SELinux context of the file system."),
        MountWord("defcontext", "CONTEXT", .kernel, "The SELinux context of files without one."),
        MountWord("rootcontext", "CONTEXT", .kernel, "The SELinux context of the mounted folder."),
        MountWord("default_permissions", .ignored, "Always on: the kernel checks modes and owners."),
        MountWord("noatime", .ignored, "Always on: reading does not change access times."),
        MountWord("atime", .ignored, "As `noatime`."),
        MountWord("nodiratime", .ignored, "Always on."),
        MountWord("diratime", .ignored, "As `noatime`."),
        MountWord("relatime", .ignored, "As `noatime`."),
        MountWord("norelatime", .ignored, "As `noatime`."),
        MountWord("strictatime", .ignored, "As `noatime`."),
        MountWord("nostrictatime", .ignored, "As `noatime`."),
        MountWord("lazytime", .ignored, "Times are saved with the rest."),
        MountWord("nolazytime", .ignored, "Always on."),
        MountWord("iversion", .ignored, "No file has such a counter."),
        MountWord("noiversion", .ignored, "Always on."),
        MountWord("nomand", .ignored, "Always on: no lock is mandatory."),
        MountWord("silent", .ignored, "For mount(8)."),
        MountWord("loud", .ignored, "For mount(8)."),
        MountWord("defaults", .ignored, "Nothing: a filler for fstab(5)."),
        MountWord("auto", .ignored, "Mount at boot, for mount(8)."),
        MountWord("noauto", .ignored, "Do not mount at boot, for mount(8)."),
        MountWord("user", .ignored, "Let a user mount it, for mount(8); not `--user`."),
        MountWord("nouser", .ignored, "Let only root mount it, for mount(8)."),
        MountWord("users", .ignored, "Let any user mount and unmount it, for mount(8)."),
        MountWord("nousers", .ignored, "The opposite of `users`."),
        MountWord("owner", .ignored, "For mount(8)."),
        MountWord("noowner", .ignored, "For mount(8)."),
        MountWord("group", .ignored, "For mount(8)."),
        MountWord("nogroup", .ignored, "For mount(8)."),
        MountWord("nofail", .ignored, "Boot goes on when it cannot be mounted."),
        MountWord("fail", .ignored, "The opposite of `nofail`."),
        MountWord("_netdev", .ignored, "Mount after the network is up; belongs into every fstab line of lanfs."),
        MountWord("subtype", "TYPE", .ignored, "The type is always `fuse.lanfs`."),
        MountWord("comment", "TEXT", .ignored, "For people."),
        MountWord("uhelper", "NAME", .ignored, "For umount(8)."),
        MountWord(
            "remount", .refused,
            "a mount keeps its options; unmount the volume and mount it again. What the kernel can change by itself, as "
                + "from rw to ro, is changed by: mount -i -o remount,ro MOUNTPOINT."),
    ]

    /// Words that start so are for systemd, mount(8) and desktops.
    static let ignoredPrefixes = ["x-", "X-"]

    /// Splits what follows `-o` at its commas; a comma behind a backslash belongs to the value, as in libfuse.
    static func split(_ list: Argument) -> [Argument] {
        var words: [[UInt8]] = [[]]
        var escaped = false
        for byte in list.bytes {
            if escaped {
                words[words.count - 1].append(byte)
                escaped = false
            } else if byte == UInt8(ascii: "\\") {
                escaped = true
            } else if byte == UInt8(ascii: ",") {
                words.append([])
            } else {
                words[words.count - 1].append(byte)
            }
        }
        return words.filter { !$0.isEmpty }.map { Argument($0) }
    }

    /// Finds the word `text` starts with, and its value; nil for a word that is known to be for somebody else.
    static func recognise(_ text: Argument) throws(BadValue) -> (word: MountWord, value: Argument?)? {
        if ignoredPrefixes.contains(where: { text.bytes.starts(with: $0.utf8) }) { return nil }
        let equals = text.bytes.firstIndex(of: UInt8(ascii: "="))
        let name = Argument(Array(text.bytes[..<(equals ?? text.bytes.endIndex)]))
        let value = equals.map { Argument(Array(text.bytes[($0 + 1)...])) }
        // mount(8) notes who mounted a `user` line as user=NAME.
        if name == "user", value != nil { return nil }
        guard let word = table.first(where: { name.bytes.elementsEqual($0.name.utf8) }) else {
            throw BadValue("unknown option \(name.quoted)\(NearestWord.hint(name.shown, among: table.map(\.name)))")
        }
        if let metavar = word.metavar, value == nil {
            throw BadValue("'\(word.name)' needs a value: \(word.name)=\(metavar)")
        }
        if word.metavar == nil, value != nil { throw BadValue("'\(word.name)' takes no value") }
        return (word, value)
    }
}

/// A list of words for `mount -o`, each one known.
struct MountWordList: Sendable, ArgumentValue {
    let entries: [(word: MountWord, value: Argument?)]

    static var completion: Completion { .mountWords }

    init(argument: Argument) throws(BadValue) {
        var entries: [(word: MountWord, value: Argument?)] = []
        for text in MountWord.split(argument) {
            if let entry = try MountWord.recognise(text) { entries.append(entry) }
        }
        self.entries = entries
    }
}
