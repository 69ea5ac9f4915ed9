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
            return KernelMount(path: path, connection: connection, keepAlive: keepAlive, device: device(at: path))
        } catch .helperRefused(let words) where words.contains("/dev/fuse") {
            throw .deviceUnavailable(words.contains("ermission") ? .permissionDenied : .noSuchFileOrDirectory)
        }
    }

    /// Nil when this root may not mount (a container): the helper may still be allowed to.
    private static func mountDirectly(on path: String, options: MountOptions) throws(MountError) -> KernelMount? {
        let connection = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard connection >= 0 else { throw .deviceUnavailable(Errno(rawValue: errno)) }
        let data = [
            "fd=\(connection)", "rootmode=40000", "user_id=\(getuid())", "group_id=\(getgid())",
        ] + options.kernelOptions
        guard lanfs_mount(options.source, path, "fuse.lanfs", options.flags, data.joined(separator: ",")) == 0 else {
            let error = Errno(rawValue: errno)
            close(connection)
            if error == .notPermitted { return nil }
            throw .kernelRefused(path, error)
        }
        return KernelMount(path: path, connection: connection, keepAlive: nil, device: device(at: path))
    }

    private static func device(at path: String) -> String? {
        MountTable.top(at: path).flatMap { $0.isLanfs ? $0.device : nil }
    }

    /// Whether this very mount is still in the tree.
    var isInTree: Bool {
        guard let top = MountTable.top(at: path), top.isLanfs else { return false }
        return device == nil || top.device == device
    }

    /// Takes it out of the tree at once; files still open stay usable as long as requests are answered.
    /// Returns why it did not work.
    func detach() -> String? {
        guard isInTree else { return nil }
        return Self.detach(path)
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
