import CFuse
import Glibc

/// Which changes are on disk before their call returns, without anybody asking for fsync(2).
enum Synchrony: Sendable {
    case nothing
    /// `dirsync`: those of names.
    case names
    /// `sync`.
    case everything
}

/// How a volume is mounted. `apply` understands what people write after `-o` and in fstab.
public struct MountOptions: Equatable, Sendable {
    /// Shown as the source of the mount: `lanfs:NAME`.
    public var volumeName: String
    public var cache: CachePolicy
    /// Threads that read requests. More than there are processors gain nothing: none of them ever waits for the volume.
    public var threads = max(2, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    /// Largest read the kernel may ask for, bytes; nil: the kernel's own limit.
    public var maxRead: UInt32?
    /// How far the kernel reads ahead of a sequential reader, bytes; more than 128 KiB only when mounted by root.
    public var readAhead = 1 << 20
    public var allowOther = false
    public var allowRoot = false
    /// Mount on a folder that has something in it.
    public var nonEmpty = false
    /// A helper process of fusermount3 unmounts when this process dies without doing so.
    public var autoUnmount = false
    /// An interrupted wait that may be given up ends with EINTR after this time.
    public var interruptAfter: Duration = .seconds(10)

    var flags = UInt(MS_NOSUID | MS_NODEV)
    /// SELinux contexts and the like, handed to the kernel as they are.
    var passed: [String] = []

    public init(volumeName: String, cache: CachePolicy = .shared) {
        self.volumeName = volumeName
        self.cache = cache
    }

    public var readOnly: Bool {
        get { flags & UInt(MS_RDONLY) != 0 }
        set { set(MS_RDONLY, newValue) }
    }

    var synchrony: Synchrony {
        flags & UInt(MS_SYNCHRONOUS) != 0 ? .everything : flags & UInt(MS_DIRSYNC) != 0 ? .names : .nothing
    }

    private mutating func set(_ flag: MountFlag, _ on: Bool) {
        if on { flags |= UInt(flag) } else { flags &= ~UInt(flag) }
    }

    /// Takes in a comma-separated list as given to `-o`.
    public mutating func apply(_ list: String) throws(MountError) {
        for option in list.split(separator: ",") { try applyOne(String(option)) }
    }

    private mutating func applyOne(_ option: String) throws(MountError) {
        if let (flag, on) = Self.flagOptions[option] {
            set(flag, on)
            return
        }
        if Self.ignored.contains(option) || Self.ignoredPrefixes.contains(where: option.hasPrefix) { return }
        if Self.passedPrefixes.contains(where: option.hasPrefix) {
            passed.append(option)
            return
        }
        let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        switch (parts[0], parts.count == 2 ? String(parts[1]) : nil) {
        case ("allow_other", nil): allowOther = true
        case ("allow_root", nil): allowRoot = true
        case ("nonempty", nil): nonEmpty = true
        case ("auto_unmount", nil): autoUnmount = true
        case ("max_read", let value?):
            guard let bytes = UInt32(value), bytes >= 4096 else {
                throw .option(option, reason: "wants a number of bytes, 4096 or more")
            }
            maxRead = bytes
        default:
            throw .option(option, reason: "is not known; the manual page of lanfs mount lists those that are")
        }
        if allowOther, allowRoot { throw .option(option, reason: "allow_other and allow_root exclude each other") }
    }

    /// What mount(2) takes as its data, but for the descriptor and the owner.
    var kernelOptions: [String] {
        var options = ["default_permissions"] + passed
        // allow_root is the kernel's allow_other plus a check of libfuse's.
        if allowOther || allowRoot { options.append("allow_other") }
        if let maxRead { options.append("max_read=\(maxRead)") }
        return options
    }

    /// What fusermount3 takes after -o.
    var helperOptions: [String] {
        var options = kernelOptions
        options.append(readOnly ? "ro" : "rw")
        for (name, flag, on) in Self.flagNames where on && flag != MS_RDONLY && flags & UInt(flag) != 0 {
            options.append(name)
        }
        options.append("fsname=\(source)")
        options.append("subtype=lanfs")
        if autoUnmount { options.append("auto_unmount") }
        return options
    }

    /// What libfuse itself has to know.
    var libraryOptions: [String] {
        var options: [String] = []
        if allowRoot { options.append("allow_root") }
        if let maxRead { options.append("max_read=\(maxRead)") }
        return options
    }

    /// The mount's source as mount(8) and df(1) show it: nothing in it that a mount table or an option list escapes.
    var source: String {
        "lanfs:" + volumeName.map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) ? $0 : "-" }
    }

    private typealias MountFlag = Int

    private static let flagNames: [(String, MountFlag, Bool)] = [
        ("ro", MS_RDONLY, true), ("rw", MS_RDONLY, false),
        ("nosuid", MS_NOSUID, true), ("suid", MS_NOSUID, false),
        ("nodev", MS_NODEV, true), ("dev", MS_NODEV, false),
        ("noexec", MS_NOEXEC, true), ("exec", MS_NOEXEC, false),
        ("sync", MS_SYNCHRONOUS, true), ("async", MS_SYNCHRONOUS, false),
        ("dirsync", MS_DIRSYNC, true),
        ("noatime", MS_NOATIME, true), ("atime", MS_NOATIME, false),
    ]
    private static let flagOptions = Dictionary(
        uniqueKeysWithValues: flagNames.map { ($0.0, ($0.1, $0.2)) })

    /// For mount(8), fstab and systemd, not for us; and what is on anyway.
    private static let ignored: Set<String> = [
        "defaults", "auto", "noauto", "user", "nouser", "users", "group", "owner", "nofail", "_netdev",
        "relatime", "norelatime", "strictatime", "nodiratime", "diratime", "lazytime", "nolazytime",
        "default_permissions",
    ]
    private static let ignoredPrefixes = ["x-", "X-", "comment=", "user=", "fsname=", "subtype="]
    private static let passedPrefixes = ["context=", "fscontext=", "defcontext=", "rootcontext="]
}
