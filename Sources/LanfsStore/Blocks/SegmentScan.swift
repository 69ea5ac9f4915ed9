import LanfsProtocol
import SystemPackage

/// Reads a segment record by record, for what no sidecar covers. The only judge is the block's own hash, so bytes on
/// disk can claim whatever they like.
struct SegmentScan {
    private(set) var records: [RecordHeader] = []
    /// Behind the last good record, or where the scan started.
    private(set) var end: UInt64
    /// Ranges that hold something that is no good record, in order.
    private(set) var bad: [StoreIssue] = []
    /// The disk refused to read: there may be good records we cannot see.
    private(set) var unreadable = false

    init(_ file: OpenFile, segment: UInt32, from start: UInt64, volume: VolumeID, hash: BlockHash) throws(StoreError) {
        end = start
        let size = min(try file.information().size, BlockStore.Options.maximumSegmentSize)
        var position = start
        let body = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.blockSize, alignment: 16)
        defer { body.deallocate() }
        while position < size {
            // Holes are what was punched or never written.
            guard let data = file.nextData(from: position) else { break }
            position = data / Layout.page * Layout.page
            let page: [UInt8]
            do throws(StoreError) {
                page = try file.read(at: position, count: Int(min(Layout.page, size - position)))
            } catch {
                unreadable = true
                note(file.path, position, Layout.page, "cannot be read: \(error)")
                position += Layout.page
                continue
            }
            guard
                let header = RecordHeader(
                    page, segment: segment, page: position / Layout.page, volume: volume, hash: hash)
            else {
                if !page.withUnsafeBytes(isZero) { note(file.path, position, Layout.page, "not a record") }
                position += Layout.page
                continue
            }
            // A sound header owns its range: the next record starts behind it even if its bytes are bad.
            defer { position += header.span }
            let bytes = UnsafeMutableRawBufferPointer(rebasing: body[..<Int(header.length)])
            var isGood = false
            do throws(StoreError) {
                let count = try file.read(at: position + UInt64(RecordHeader.size), into: bytes)
                isGood = count == bytes.count && hash(UnsafeRawBufferPointer(bytes)) == header.id
            } catch {
                unreadable = true
            }
            if isGood {
                records.append(header)
                end = position + header.span
            } else {
                note(file.path, position, header.span, "the bytes of block \(header.id) are wrong")
            }
        }
    }

    private mutating func note(_ path: FilePath, _ offset: UInt64, _ length: UInt64, _ reason: String) {
        if let last = bad.last, last.offset + last.length == offset, last.reason == reason {
            bad[bad.count - 1].length += length
        } else {
            bad.append(StoreIssue(path: path, offset: offset, length: length, reason: reason))
        }
    }

    /// Bad ranges with good records behind them: rot, to be reported (section 7).
    var rotten: [StoreIssue] { bad.filter { $0.offset < end } }
    /// What a crash tore off: never flushed, because a flush writes everything before it.
    var torn: [StoreIssue] { bad.filter { $0.offset >= end } }
}
