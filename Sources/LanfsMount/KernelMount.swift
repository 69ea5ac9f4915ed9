import CFuse
import Glibc
import SystemPackage

/// A mount as the kernel knows it: the place, and the connection its requests come from.
struct KernelMount: Sendable {
    var path: String
    /// /dev/fuse, opened and mounted; belongs to whoever reads it.
    var connection: Int32
    /// Open as long as a watching helper shall leave the mount alone.
    var keepAlive: Int32?
    /// `major:minor`; nil when the mount table does not show it.
    var device: String?
    /// The mount's own number; nil on kernels before 6.8.
    var identity: UInt64?

    /// Directly when this is root, else through fusermount3.
    static func mount(on path: String, options: MountOptions) throws(MountError) -> KernelMount {
        if geteuid() == 0, !options.autoUnmount, let direct = try mountDirectly(on: path, options: options) {
            return direct
        }
        // A missing device is told better here than by the helper.
        if access("/dev/fuse", F_OK) != 0 { throw .deviceUnavailable(Errno(rawValue: errno)) }
        do {
            let (connection, keepAlive) = try Fusermount.mount(
                on: path, options: options.helperOptions, watched: options.autoUnmount)
            return KernelMount(path, connection, keepAlive)
        } catch .helperRefused(let words) where words.contains("/dev/fuse") {
            throw .deviceUnavailable(words.contains("ermission") ? .permissionDenied : .noSuchFileOrDirectory)
        }
    }

    /// Nil when this root may not mount (a container): the helper may still be allowed to.
    private static func mountDirectly(on path: String, options: MountOptions) throws(MountError) -> KernelMount? {
        let connection = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard connection >= 0 else { throw .deviceUnavailable(Errno(rawValue: errno)) }
        let data =
            [
                "fd=\(connection)", "rootmode=40000", "user_id=\(getuid())", "group_id=\(getgid())",
            ] + options.kernelOptions
        guard lanfs_mount(options.source, path, "fuse.lanfs", options.flags, data.joined(separator: ",")) == 0 else {
            let error = Errno(rawValue: errno)
            close(connection)
            if error == .notPermitted { return nil }
            throw .kernelRefused(path, error)
        }
        return KernelMount(path, connection, nil)
    }

    private init(_ path: String, _ connection: Int32, _ keepAlive: Int32?) {
        self.path = path
        self.connection = connection
        self.keepAlive = keepAlive
        device = MountTable.top(at: path).flatMap { $0.isLanfs ? $0.device : nil }
        identity = Self.identity(at: path)
    }

    private static func identity(at path: String) -> UInt64? {
        let identity = lanfs_unique_mount_id(path)
        return identity == 0 ? nil : identity
    }

    /// Whether this very mount is still in the tree.
    var isInTree: Bool {
        guard let top = MountTable.top(at: path), top.isLanfs else { return false }
        return device == nil || top.device == device
    }

    /// Takes it out of the tree at once; files still open stay usable as long as requests are answered. Only while the
    /// connection is alive: device numbers of mounts that are gone are used again. Returns why it did not work.
    @discardableResult
    func detach() -> String? {
        guard isInTree else { return nil }
        return Self.detach(path)
    }

    /// The same after the connection has ended. What lies there may be somebody's new mount by now, with our old device
    /// number: where the kernel does not tell mounts apart for good, only a dead one goes.
    func detachIfDead() {
        guard isInTree else { return }
        if let identity {
            guard Self.identity(at: path) == identity else { return }
        } else {
            guard case .failure(.socketNotConnected) = MountPoint.probe(path) else { return }
        }
        _ = Self.detach(path)
    }

    static func detach(_ path: String) -> String? {
        if umount2(path, Int32(MNT_DETACH)) == 0 { return nil }
        let error = Errno(rawValue: errno)
        guard error == .notPermitted else { return "\(error)" }
        return Fusermount.detach(path)
    }

    /// Lets the kernel read further ahead than its default of 128 KiB. Only root may; others keep the default.
    func setReadAhead(_ bytes: Int) {
        guard let device else { return }
        let file = open("/sys/class/bdi/\(device)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        let text = "\(bytes / 1024)\n"
        _ = write(file, text, text.utf8.count)
        close(file)
    }
}
