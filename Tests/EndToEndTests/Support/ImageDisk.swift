import Glibc
import SystemPackage

extension Machine {
    /// Whether file systems in files can be mounted here: else power is never cut, with the reason.
    static let canMountImages: Bool = {
        guard geteuid() == 0 else {
            print("power cuts are not tested: only root can mount a disk image")
            return false
        }
        guard has("mkfs.ext4"), has("losetup") else { return false }
        guard access("/dev/loop-control", R_OK | W_OK) == 0 else {
            print("power cuts are not tested: there are no loop devices (/dev/loop-control)")
            return false
        }
        return true
    }()
}

/// A disk of its own, whose power can be cut: an ext4 in a file. What was written and not synced lies in the memory of
/// that file system alone; a copy of the file is the disk as the next start finds it.
struct ImageDisk {
    private let host: Host
    private let mountPoint: String
    private var number = 0

    init(_ host: Host, at mountPoint: String, megabytes: Int) throws {
        self.host = host
        self.mountPoint = mountPoint
        try check(mkdir(mountPoint, 0o700))
        try host.tool("truncate", "-s", "\(megabytes)M", image)
        try host.tool("mkfs.ext4", "-q", "-F", image)
        try host.tool("mount", "-o", "loop", image, mountPoint)
    }

    private var image: String { host.local("disk-\(number)") }

    /// Nobody writes to it any more, and nothing of what is not on it gets there.
    mutating func cutPower() throws {
        let old = image
        number += 1
        try host.tool("cp", "--sparse=always", old, image)
        try detach()
        try check(unlink(old))
        try host.tool("mount", "-o", "loop", image, mountPoint)
    }

    func detach() throws { try host.tool("umount", "-l", mountPoint) }
}
