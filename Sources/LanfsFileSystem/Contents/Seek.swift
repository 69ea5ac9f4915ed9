import LanfsProtocol
import LanfsTree
import SystemPackage

extension Transaction {
    /// Where the next byte that is backed by data is, at or after `offset`. Two looks and one more.
    ///
    /// - Throws: `ENXIO` when there is none, or `offset` is not before the file's end.
    public func seekData(_ inode: InodeNumber, from offset: UInt64) throws(Interruption) -> UInt64 {
        let record = try regularFile(inode)
        guard offset < record.attributes.size else { throw .failed(.noSuchAddressOrDevice) }
        if offset < UInt64(record.inline.count) { return offset }
        guard record.hasExtents else { throw .failed(.noSuchAddressOrDevice) }
        let chunks = offset / chunkSize..<allChunks.upperBound
        // The first may end before `offset`, when its last chunk is short; the second cannot.
        for run in try runs(of: inode, record.generation, in: chunks, limit: 2) {
            let start = max(offset, run.first * chunkSize)
            if start < run.dataEnd { return start }
        }
        throw .failed(.noSuchAddressOrDevice)
    }

    /// Where the next hole is, at or after `offset`; the file's end counts as one. A hole behind very many runs without
    /// one between is not found: it is reported as data, as POSIX allows.
    ///
    /// - Throws: `ENXIO` when `offset` is not before the file's end.
    public func seekHole(_ inode: InodeNumber, from offset: UInt64) throws(Interruption) -> UInt64 {
        let record = try regularFile(inode)
        let size = record.attributes.size
        guard offset < size else { throw .failed(.noSuchAddressOrDevice) }
        if !record.inline.isEmpty, offset < chunkSize { return max(offset, UInt64(record.inline.count)) }
        guard record.hasExtents else { return offset }
        let chunks = offset / chunkSize..<allChunks.upperBound
        let limit = FileSystemLimits.runsPerSearch
        let runs = try runs(of: inode, record.generation, in: chunks, limit: limit)
        var position = offset
        for run in runs {
            guard run.first * chunkSize <= position, position < run.dataEnd else { return position }
            position = run.dataEnd
        }
        return runs.count < limit ? position : size
    }
}

extension Run {
    /// The first byte after its data.
    fileprivate var dataEnd: UInt64 { first * chunkSize + extent.plainLength }
}
