import LanfsProtocol

/// Consecutive chunks of a file that are consecutive frames of one block.
public struct Extent: Equatable, Sendable {
    /// Chunks, at least one.
    public let count: UInt32
    /// Of all frames: each is `Limits.sealedChunkSize` long, the last may be shorter.
    public var frames: FrameRef
    /// Bytes of the last chunk that are the file's: as many as its frame seals, or fewer when the file was cut there.
    /// Every other chunk is whole; what is missing of the last reads as zeros.
    public let lastLength: UInt32

    /// - Returns: `nil` when the parts contradict each other, or reach beyond what a block can hold.
    public init?(count: UInt32, frames: FrameRef, lastLength: UInt32) {
        guard count > 0, lastLength > 0, count <= UInt32(Limits.blockSize / Limits.sealedChunkSize) + 1 else {
            return nil
        }
        let lastSealed = Int(frames.length) - (Int(count) - 1) * Limits.sealedChunkSize
        guard lastSealed <= Limits.sealedChunkSize, Int(lastLength) + Limits.frameOverhead <= lastSealed,
            Int(frames.offset) + Int(frames.length) <= Limits.blockSize, frames.index <= UInt32.max - count
        else { return nil }
        self.init(unchecked: count, frames, lastLength)
    }

    private init(unchecked count: UInt32, _ frames: FrameRef, _ lastLength: UInt32) {
        self.count = count
        self.frames = frames
        self.lastLength = lastLength
    }

    /// Bytes of the file.
    public var plainLength: UInt64 {
        UInt64(count - 1) * UInt64(Limits.chunkSize) + UInt64(lastLength)
    }

    /// Bytes of one chunk that are the file's.
    func length(of chunk: UInt32) -> Int { chunk == count - 1 ? Int(lastLength) : Limits.chunkSize }

    /// The frame of one chunk, counted from the run's first.
    func frame(of chunk: UInt32) -> FrameRef { slice(chunk..<chunk + 1).frames }

    /// Part of the run: a run itself, its frames still where they were.
    func slice(_ chunks: Range<UInt32>) -> Extent {
        let start = chunks.lowerBound * UInt32(Limits.sealedChunkSize)
        let end = chunks.upperBound == count ? frames.length : chunks.upperBound * UInt32(Limits.sealedChunkSize)
        var part = frames
        part.index += chunks.lowerBound
        part.offset += start
        part.length = end - start
        return Extent(unchecked: UInt32(chunks.count), part, UInt32(length(of: chunks.upperBound - 1)))
    }

    /// The same chunks, of the last at most this many bytes.
    func clamped(toLast length: UInt32) -> Extent { Extent(unchecked: count, frames, min(lastLength, length)) }

    static let encodedSize = 1 + 4 + 4 + FrameRef.encodedSize

    public func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: Self.encodedSize)
        writer.append(RecordVersion.current)
        writer.append(count)
        writer.append(lastLength)
        frames.encode(into: &writer)
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "an extent")
        let count: UInt32 = try reader.integer()
        let lastLength: UInt32 = try reader.integer()
        let frames = try FrameRef(from: &reader)
        try reader.finish()
        guard let extent = Extent(count: count, frames: frames, lastLength: lastLength) else {
            throw .invalid(what: "an extent's run of frames")
        }
        self = extent
    }
}
