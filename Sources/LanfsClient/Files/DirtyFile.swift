import LanfsProtocol

/// What was written to a file and is not yet in sealed blocks: whole chunks, held in memory until they are.
struct DirtyFile {
    struct Chunk {
        /// At most `Limits.chunkSize` bytes; what is missing at the end reads as zeros.
        var bytes: [UInt8]
        /// Grows with every change, so that a seal of older bytes is noticed and not taken for these.
        var version: UInt64
        /// A seal of this version is under way.
        var isSealing = false
    }

    private(set) var chunks: [UInt64: Chunk] = [:]

    var isEmpty: Bool { chunks.isEmpty }

    subscript(chunk: UInt64) -> Chunk? { chunks[chunk] }

    var byteCount: Int { chunks.values.reduce(0) { $0 + $1.bytes.count } }

    /// The first of these chunks that is here.
    func first(in range: ClosedRange<UInt64>) -> UInt64? { chunks.keys.lazy.filter(range.contains).min() }

    /// Chunk numbers in order.
    var order: [UInt64] { chunks.keys.sorted() }

    /// Puts `data` at `start` within the chunk, on top of `base` when the chunk was clean. Returns how many bytes of
    /// memory the chunk grew by.
    mutating func write(
        _ data: UnsafeRawBufferPointer, at start: Int, chunk: UInt64, version: UInt64, base: consuming [UInt8]
    ) -> Int {
        precondition(start + data.count <= Limits.chunkSize, "a write crosses the end of its chunk")
        var entry = chunks.removeValue(forKey: chunk) ?? Chunk(bytes: [], version: version)
        let before = entry.bytes.count
        if before == 0, start == 0, data.count >= base.count {
            entry.bytes = Array(data)
        } else {
            if before == 0 { entry.bytes = base }
            overwrite(&entry.bytes, with: data, at: start)
        }
        entry.version = version
        entry.isSealing = false
        defer { chunks[chunk] = entry }
        return entry.bytes.count - before
    }

    /// How many bytes the servers will have to take that they would not without such a write: the chunk grows, or all of it
    /// goes once more when what it holds is on its way. Asked before `write`; `base` counts as 0 bytes when all is written.
    func growth(to end: Int, of chunk: UInt64, base: Int) -> Int {
        guard let entry = chunks[chunk] else { return max(end, base) }
        return max(end, entry.bytes.count) - (entry.isSealing ? 0 : entry.bytes.count)
    }

    private func overwrite(_ bytes: inout [UInt8], with data: UnsafeRawBufferPointer, at start: Int) {
        if start > bytes.count {
            bytes.append(contentsOf: repeatElement(0, count: start - bytes.count))
        }
        let overlap = min(data.count, bytes.count - start)
        if overlap > 0 {
            bytes.withUnsafeMutableBytes { $0.baseAddress?.advanced(by: start).copyMemory(from: data.baseAddress!, byteCount: overlap) }
        }
        if overlap < data.count {
            bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: data[overlap...]))
        }
    }

    /// Marks a chunk as being sealed and gives its bytes, unless a seal of just these bytes is under way.
    mutating func takeForSealing(_ chunk: UInt64) -> Chunk? {
        guard let entry = chunks[chunk], !entry.isSealing else { return nil }
        chunks[chunk]?.isSealing = true
        return entry
    }

    /// The chunk's bytes of this version are sealed and named in the tree. Returns the bytes of memory given back.
    mutating func remove(_ chunk: UInt64) -> Int {
        chunks.removeValue(forKey: chunk)?.bytes.count ?? 0
    }

    /// The seal of this chunk came to nothing; it is to be sealed again.
    mutating func unmarkSealing(_ chunk: UInt64) {
        chunks[chunk]?.isSealing = false
    }

    /// Drops whole chunks from `first` to `end`, not included. Returns the bytes of memory given back.
    mutating func drop(_ range: Range<UInt64>) -> Int {
        if UInt64(chunks.count) < range.upperBound - range.lowerBound {
            return chunks.keys.filter(range.contains).reduce(0) { $0 + remove($1) }
        }
        return range.reduce(0) { $0 + remove($1) }
    }

    /// Cuts a chunk to its first `count` bytes. Returns the bytes of memory given back.
    mutating func cut(_ chunk: UInt64, to count: Int, version: UInt64) -> Int {
        guard var entry = chunks.removeValue(forKey: chunk) else { return 0 }
        let excess = max(0, entry.bytes.count - count)
        entry.bytes.removeLast(excess)
        entry.version = version
        entry.isSealing = false
        chunks[chunk] = entry
        return excess
    }
}
