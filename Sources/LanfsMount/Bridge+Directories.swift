import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// Directory listings, packed into the buffer the kernel has room for.
extension Bridge {
    func readDirectory(_ request: Request, _ handle: Handle, offset: off_t, room: Int, plus: Bool) {
        // What an entry with a name of 16 to 23 bytes takes: asking for a few too few costs another request, for too
        // many their lookups back.
        let typicalEntry = plus ? 176 : 48
        let outcome = operations.readDirectory(
            handle, offset: UInt64(clamping: offset), limit: room / typicalEntry + 1, attributes: plus)
        settle(request, outcome, .readOnly, as: plus ? .listingPlus(room: room) : .listing(room: room))
    }
}

extension Answer<[ListedEntry]> {
    static func listing(room: Int) -> Answer {
        Answer(send: { _, request, entries in
            pack(entries, room: room) { buffer, name, entry in
                var status = stat()
                status.st_ino = ino_t(entry.entry.inode)
                status.st_mode = entry.entry.type.modeBits
                return fuse_add_direntry(
                    request.raw, buffer.baseAddress, buffer.count, name, &status, off_t(clamping: entry.nextOffset))
            } reply: { buffer, _ in
                fuse_reply_buf(request.raw, buffer.baseAddress, buffer.count)
            }
        })
    }

    static func listingPlus(room: Int) -> Answer {
        Answer(
            send: { bridge, request, entries in
                pack(entries, room: room) { buffer, name, entry in
                    var parameters = fuse_entry_param()
                    if let attributes = entry.attributes {
                        parameters = bridge.entry(attributes)
                    } else {
                        // Inode zero: listed only, not looked up.
                        parameters.attr.st_ino = ino_t(entry.entry.inode)
                        parameters.attr.st_mode = entry.entry.type.modeBits
                    }
                    return fuse_add_direntry_plus(
                        request.raw, buffer.baseAddress, buffer.count, name, &parameters,
                        off_t(clamping: entry.nextOffset))
                } reply: { buffer, count in
                    let status = fuse_reply_buf(request.raw, buffer.baseAddress, buffer.count)
                    if status == 0 { bridge.giveBack(entries[count...]) }
                    return status
                }
            },
            undo: { bridge, entries in bridge.giveBack(entries[...]) })
    }

    /// `add` returns the bytes an entry takes: more than there is room for, and it is left out with all after it.
    private static func pack(
        _ entries: [ListedEntry], room: Int,
        add: (UnsafeMutableBufferPointer<CChar>, UnsafePointer<CChar>, ListedEntry) -> Int,
        reply: (UnsafeMutableBufferPointer<CChar>, _ packed: Int) -> Int32
    ) -> Int32 {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: room) { buffer in
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: longestName + 1) { name in
                var used = 0
                var packed = 0
                for entry in entries {
                    let length = entry.entry.name.count
                    // No name of a volume is longer; a longer one would not fit the kernel's.
                    guard length <= longestName else { break }
                    entry.entry.name.withUnsafeBytes { UnsafeMutableRawBufferPointer(name).copyMemory(from: $0) }
                    name[length] = 0
                    guard let start = name.baseAddress else { break }
                    let rest = UnsafeMutableBufferPointer(rebasing: buffer[used...])
                    let size = add(rest, start, entry)
                    guard size <= rest.count else { break }
                    used += size
                    packed += 1
                }
                return reply(UnsafeMutableBufferPointer(rebasing: buffer[..<used]), packed)
            }
        }
    }
}

/// NAME_MAX
private let longestName = 255

extension Bridge {
    fileprivate func giveBack(_ entries: ArraySlice<ListedEntry>) {
        for entry in entries {
            if let attributes = entry.attributes { operations.forget(attributes.inode, lookups: 1) }
        }
    }
}
