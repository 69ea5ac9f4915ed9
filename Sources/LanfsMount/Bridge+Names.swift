import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// Requests about names and the inodes they lead to.
extension Bridge {
    func makeNode(_ request: Request, _ name: [UInt8], in parent: InodeNumber, mode: mode_t, device: dev_t) {
        guard let type = InodeType(modeBits: mode) else {
            request.fail(.invalidArgument)
            return
        }
        let outcome = operations.makeNode(
            name, in: parent, type: type, permissions: UInt16(mode & 0o7777),
            device: UInt32(truncatingIfNeeded: device),
            by: request.caller)
        settleChange(request, outcome, ofNames: true, as: .entry)
    }

    func rename(
        _ request: Request, _ name: [UInt8], in parent: InodeNumber, to newName: [UInt8], in newParent: InodeNumber,
        flags: UInt32
    ) {
        let mode: RenameMode
        switch flags {
        case 0: mode = .replace
        case lanfs_rename_noreplace(): mode = .noReplace
        case lanfs_rename_exchange(): mode = .exchange
        // RENAME_WHITEOUT among them: nobody needs one here.
        default:
            request.fail(.invalidArgument)
            return
        }
        let outcome = operations.rename(
            name, in: parent, to: newName, in: newParent, mode: mode, by: request.caller)
        settleChange(request, outcome, ofNames: true, as: .done)
    }

    /// CREATE, and TMPFILE, which comes with an empty name (see RequestLoop).
    func create(_ request: Request, _ name: [UInt8], in parent: InodeNumber, mode: mode_t, flags: Int32) {
        let permissions = UInt16(mode & 0o7777)
        let outcome =
            name.isEmpty
            ? operations.createUnnamed(
                in: parent, permissions: permissions, flags: OpenFlags(flags), by: request.caller)
            : operations.create(
                name, in: parent, permissions: permissions, flags: OpenFlags(flags), by: request.caller)
        settleChange(request, outcome, ofNames: true, as: .created)
    }
}
