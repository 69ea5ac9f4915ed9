import LanfsProtocol
import LanfsTree

extension Transaction {
    /// Gives a file the sealed chunks that it has in another tree, where they were written and sealed after the root that both
    /// descend from: nothing else refers to their frames (see `Reexecution.carried`). Holes there change nothing here.
    public mutating func carry(
        _ chunks: Range<UInt64>, of inode: InodeNumber, from source: Transaction
    ) throws(Interruption) {
        guard let old = try source.inodeIfPresent(inode), old.attributes.type == .regular,
            try inodeIfPresent(inode) != nil
        else { return }
        if chunks.contains(0), !old.inline.isEmpty { try putInline(inode, old.inline) }
        guard old.hasExtents else { return }
        for run in try source.runs(of: inode, old.generation, in: chunks, limit: .max) {
            let part = run.part(chunks)
            let block = part.extent.frames.block
            if try usage(of: block) == nil, let known = try source.usage(of: block) {
                try registerBlock(block, length: known.total, kind: known.kind, made: known.made)
            }
            try putRun(
                inode, firstChunk: part.first, count: part.extent.count, frames: part.extent.frames,
                lastLength: part.extent.lastLength)
        }
    }

    /// A name of an inode, looked for among up to `limit` entries from `start` on, and where to go on when none of them is.
    public func place(
        of inode: InodeNumber, from start: Key? = nil, limit: Int
    ) throws(Interruption) -> (place: Place?, next: Key?) {
        var range = KeyRange.all(.entry)
        if let start { range.from = start }
        var found: Place?
        var seen = 0
        var last: Key?
        try forEach(in: range) { key, value in
            seen += 1
            last = key
            if let entry = try? EntryRecord(decoding: value), entry.inode == inode,
                case .entry(let parent, let name)? = RecordKey(key)
            {
                found = Place(name, in: parent)
            }
            return found == nil && seen < limit
        }
        return (found, found == nil && seen == limit ? last?.successor : nil)
    }
}
