import Glibc

/// What a name may lead to.
enum Kind: CaseIterable {
    case file, directory, symlink, fifo, socket, characterDevice, blockDevice

    static let allButDirectory = allCases.filter { $0 != .directory }
    /// Those that chmod(2) and the like act on by their own name.
    static let allButSymlink = allCases.filter { $0 != .symlink }

    /// A symlink leads nowhere; devices are the null device's number and one that nobody has.
    func make(_ path: String) throws {
        switch self {
        case .file: try check(mknod(path, S_IFREG | 0o644, 0))
        case .directory: try check(mkdir(path, 0o755))
        case .symlink: try check(Glibc.symlink("nowhere", path))
        case .fifo: try check(mkfifo(path, 0o644))
        case .socket: try check(mknod(path, S_IFSOCK | 0o644, 0))
        case .characterDevice: try check(mknod(path, S_IFCHR | 0o644, deviceNumber(1, 3)))
        case .blockDevice: try check(mknod(path, S_IFBLK | 0o644, deviceNumber(240, 7)))
        }
    }

    func remove(_ path: String) throws { try check(self == .directory ? rmdir(path) : unlink(path)) }

    var modeBits: mode_t {
        switch self {
        case .file: S_IFREG
        case .directory: S_IFDIR
        case .symlink: S_IFLNK
        case .fifo: S_IFIFO
        case .socket: S_IFSOCK
        case .characterDevice: S_IFCHR
        case .blockDevice: S_IFBLK
        }
    }
}

/// makedev(3), which is a macro, for the numbers that the kernel has: 12 and 20 bits.
func deviceNumber(_ major: dev_t, _ minor: dev_t) -> dev_t {
    let high = (minor >> 8) << 20
    return high | major << 8 | minor & 0xff
}
