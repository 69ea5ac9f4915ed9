import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// libfuse's table of callbacks: each takes its arguments apart and hands them to the bridge.
///
/// Left out on purpose: `bmap` and `poll` (the kernel answers by itself after one refusal), `write_buf` and
/// `retrieve_reply` (no splicing: the data is in the request's buffer already), `destroy` (the kernel asks for it only
/// of block-device mounts; the end of the connection says the same).
enum OperationTable {
    static func make() -> fuse_lowlevel_ops {
        var table = fuse_lowlevel_ops()
        table.`init` = { userdata, connection in
            guard let userdata, let connection else { return }
            Unmanaged<Bridge>.fromOpaque(userdata).takeUnretainedValue().agree(&connection.pointee)
        }
        addNames(&table)
        addAttributes(&table)
        addFiles(&table)
        addDirectories(&table)
        addLocks(&table)
        return table
    }

    private static func addNames(_ table: inout fuse_lowlevel_ops) {
        table.lookup = { raw, parent, name in
            serve(raw) {
                $0.settle($1, $0.operations.lookup(bytes(name), in: parent, by: $1.thread), .readOnly, as: .lookedUp)
            }
        }
        table.forget = { raw, inode, lookups in
            serve(raw) { bridge, request in
                bridge.operations.forget(inode, lookups: lookups)
                request.answerNothing()
            }
        }
        table.forget_multi = { raw, count, forgets in
            serve(raw) { bridge, request in
                for forget in UnsafeBufferPointer(start: forgets, count: forgets == nil ? 0 : count) {
                    bridge.operations.forget(forget.ino, lookups: forget.nlookup)
                }
                request.answerNothing()
            }
        }
        table.mknod = { raw, parent, name, mode, device in
            serve(raw) { $0.makeNode($1, bytes(name), in: parent, mode: mode, device: device) }
        }
        table.mkdir = { raw, parent, name, mode in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.makeDirectory(
                    bytes(name), in: parent, permissions: UInt16(mode & 0o7777), by: request.caller)
                bridge.settleChange(request, outcome, ofNames: true, as: .entry)
            }
        }
        table.symlink = { raw, target, parent, name in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.makeSymlink(
                    bytes(name), in: parent, to: bytes(target), by: request.caller)
                bridge.settleChange(request, outcome, ofNames: true, as: .entry)
            }
        }
        table.link = { raw, inode, parent, name in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.link(inode, to: bytes(name), in: parent, by: request.caller)
                bridge.settleChange(request, outcome, ofNames: true, as: .entry)
            }
        }
        table.unlink = { raw, parent, name in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.unlink(bytes(name), in: parent, by: request.caller)
                bridge.settleChange(request, outcome, ofNames: true, as: .done)
            }
        }
        table.rmdir = { raw, parent, name in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.removeDirectory(bytes(name), in: parent, by: request.caller)
                bridge.settleChange(request, outcome, ofNames: true, as: .done)
            }
        }
        table.rename = { raw, parent, name, newParent, newName, flags in
            serve(raw) { $0.rename($1, bytes(name), in: parent, to: bytes(newName), in: newParent, flags: flags) }
        }
        table.create = { raw, parent, name, mode, info in
            serve(raw) {
                $0.create($1, bytes(name), in: parent, mode: mode, flags: info?.pointee.flags ?? 0)
            }
        }
        table.readlink = { raw, inode in
            serve(raw) { $0.settle($1, $0.operations.readLink(inode), .readOnly, as: .target) }
        }
    }

    private static func addAttributes(_ table: inout fuse_lowlevel_ops) {
        table.getattr = { raw, inode, info in
            // The loop leaves file information only on requests for the extended form (see RequestLoop).
            serve(raw) {
                $0.settle(
                    $1, $0.operations.attributes(of: inode), .readOnly,
                    as: info == nil ? .attributes : .extendedAttributes)
            }
        }
        table.setattr = { raw, inode, status, set, info in
            serve(raw) { bridge, request in
                guard let status else {
                    request.fail(.invalidArgument)
                    return
                }
                let caller = request.caller
                let changes = AttributeChanges(status.pointee, set: set, now: caller.now)
                let outcome = bridge.operations.setAttributes(
                    of: inode, to: changes, byName: info == nil, by: caller)
                bridge.settleChange(request, outcome, as: .changedAttributes)
            }
        }
        // Permissions are the kernel's business (default_permissions).
        table.access = { raw, _, _ in serve(raw) { $1.succeed() } }
        table.statfs = { raw, _ in serve(raw) { $0.settle($1, $0.operations.usage(), .readOnly, as: .usage) } }
        table.setxattr = { raw, inode, name, value, size, flags in
            serve(raw) { bridge, request in
                let value = [UInt8](UnsafeRawBufferPointer(start: value, count: value == nil ? 0 : size))
                let outcome = bridge.operations.setExtendedAttribute(
                    bytes(name), of: inode, to: value, flags: flags, by: request.caller)
                bridge.settleChange(request, outcome, as: .done)
            }
        }
        table.getxattr = { raw, inode, name, room in
            serve(raw) {
                let outcome = $0.operations.extendedAttribute(bytes(name), of: inode)
                $0.settle($1, outcome, .readOnly, as: .value(room: room))
            }
        }
        table.listxattr = { raw, inode, room in
            serve(raw) {
                $0.settle($1, $0.operations.extendedAttributes(of: inode), .readOnly, as: .names(room: room))
            }
        }
        table.removexattr = { raw, inode, name in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.removeExtendedAttribute(bytes(name), of: inode, by: request.caller)
                bridge.settleChange(request, outcome, as: .done)
            }
        }
        table.ioctl = { raw, _, _, _, _, _, _, _, _ in serve(raw) { $1.fail(.inappropriateIOCTLForDevice) } }
    }

    private static func addFiles(_ table: inout fuse_lowlevel_ops) {
        table.open = { raw, inode, info in
            serve(raw) { bridge, request in
                let flags = OpenFlags(info?.pointee.flags ?? 0)
                let outcome = bridge.operations.open(inode, flags: flags, by: request.caller)
                // With O_TRUNC opening changes the file.
                if flags.contains(.truncate) {
                    bridge.settleChange(request, outcome, as: .opened)
                } else {
                    bridge.settle(request, outcome, .readOnly, as: .opened)
                }
            }
        }
        table.read = { raw, _, count, offset, info in
            serve(raw) {
                let outcome = $0.operations.read(handle(info), offset: UInt64(clamping: offset), count: count)
                $0.settle($1, outcome, .readOnly, as: .bytes)
            }
        }
        table.write = { raw, _, data, count, offset, info in
            serve(raw) { bridge, request in
                let data = UnsafeRawBufferPointer(start: data, count: data == nil ? 0 : count)
                // A page that is written back has its place.
                let appends = info.map { $0.pointee.flags & O_APPEND != 0 && $0.pointee.writepage == 0 } ?? false
                let outcome = bridge.operations.write(
                    handle(info), offset: UInt64(clamping: offset), appends: appends, data: data, by: request.caller)
                // Past its pages the kernel asks for no fsync(2) of its own.
                if appends, let info, info.pointee.flags & O_DSYNC != 0 {
                    return bridge.settleSaved(request, outcome, as: .written)
                }
                bridge.settle(request, outcome, .changing, as: .written)
            }
        }
        table.flush = { raw, _, info in
            serve(raw) {
                let outcome = $0.operations.flush(handle(info), lockOwner: info?.pointee.lock_owner ?? 0)
                $0.settle($1, outcome, .closing, as: .done)
            }
        }
        table.release = { raw, _, info in
            serve(raw) { bridge, request in
                bridge.operations.release(handle(info))
                request.succeed()
            }
        }
        table.fsync = { raw, _, dataOnly, info in
            serve(raw) {
                let outcome = $0.operations.sync(handle(info), dataOnly: dataOnly != 0)
                $0.settle($1, outcome, .readOnly, as: .done)
            }
        }
        table.fallocate = { raw, _, mode, offset, length, info in
            serve(raw) { bridge, request in
                let outcome = bridge.operations.allocate(
                    handle(info), mode: mode, offset: UInt64(clamping: offset), length: UInt64(clamping: length),
                    by: request.caller)
                bridge.settleChange(request, outcome, as: .done)
            }
        }
        table.lseek = { raw, _, offset, whence, info in
            serve(raw) {
                let outcome = $0.operations.seek(handle(info), offset: UInt64(clamping: offset), whence: whence)
                $0.settle($1, outcome, .readOnly, as: .position)
            }
        }
        table.copy_file_range = { raw, _, offset, info, _, targetOffset, targetInfo, count, _ in
            serve(raw) { bridge, request in
                // The answer has 32 bits for the count; the caller goes on by itself.
                let limit = UInt64(UInt32.max) & ~0xfff
                let outcome = bridge.operations.copyRange(
                    from: handle(info), offset: UInt64(clamping: offset), to: handle(targetInfo),
                    offset: UInt64(clamping: targetOffset), count: min(UInt64(count), limit), by: request.caller)
                bridge.settleChange(request, outcome, as: .written)
            }
        }
    }

    private static func addDirectories(_ table: inout fuse_lowlevel_ops) {
        table.opendir = { raw, inode, _ in
            serve(raw) { $0.settle($1, $0.operations.openDirectory(inode), .readOnly, as: .openedDirectory) }
        }
        table.readdir = { raw, _, room, offset, info in
            serve(raw) { $0.readDirectory($1, handle(info), offset: offset, room: room, plus: false) }
        }
        table.readdirplus = { raw, _, room, offset, info in
            serve(raw) { $0.readDirectory($1, handle(info), offset: offset, room: room, plus: true) }
        }
        table.releasedir = { raw, _, info in
            serve(raw) { bridge, request in
                bridge.operations.releaseDirectory(handle(info))
                request.succeed()
            }
        }
        table.fsyncdir = { raw, _, _, info in
            serve(raw) { $0.settle($1, $0.operations.syncDirectory(handle(info)), .readOnly, as: .done) }
        }
    }

    private static func addLocks(_ table: inout fuse_lowlevel_ops) {
        table.getlk = { raw, _, info, lock in
            serve(raw) {
                guard let info, let lock else { return }
                $0.testLock($1, info.pointee.fh, owner: info.pointee.lock_owner, lock.pointee)
            }
        }
        table.setlk = { raw, _, info, lock, wait in
            serve(raw) {
                guard let info, let lock else { return }
                $0.setLock($1, info.pointee.fh, owner: info.pointee.lock_owner, lock.pointee, wait: wait != 0)
            }
        }
        table.flock = { raw, _, info, operation in
            serve(raw) {
                guard let info else { return }
                $0.setWholeFileLock($1, info.pointee.fh, owner: info.pointee.lock_owner, operation: operation)
            }
        }
    }
}

/// Every callback comes with a request of a session whose userdata is a bridge.
@inline(__always)
private func serve(_ raw: fuse_req_t?, _ body: (Bridge, Request) -> Void) {
    guard let raw else { return }
    guard let bridge = Bridge.of(raw) else {
        Request(raw).fail(.ioError)
        return
    }
    body(bridge, Request(raw))
}

private func handle(_ info: UnsafeMutablePointer<fuse_file_info>?) -> Handle { info?.pointee.fh ?? 0 }
