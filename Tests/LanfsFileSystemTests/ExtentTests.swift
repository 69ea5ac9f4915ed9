import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage
import TestSupport
import Testing

private let chunkSize = UInt64(Limits.chunkSize)

/// A file as an array of its chunks.
private struct ChunkModel {
    struct Chunk: Equatable {
        var frame: FrameRef
        var length: Int
    }

    var size: UInt64 = 0
    var inline = 0
    var chunks: [UInt64: Chunk] = [:]

    var allocated: UInt64 { chunks.values.reduce(UInt64(inline)) { $0 + UInt64($1.length) } }

    var live: [BlockID: UInt32] {
        chunks.values.reduce(into: [:]) { $0[$1.frame.block, default: 0] += $1.frame.length }
    }

    mutating func cut(to newSize: UInt64) {
        size = newSize
        inline = min(inline, Int(newSize))
        for (number, chunk) in chunks {
            let start = number * chunkSize
            if start >= newSize {
                chunks[number] = nil
            } else {
                chunks[number]?.length = min(chunk.length, Int(newSize - start))
            }
        }
    }

    mutating func put(_ first: UInt64, _ parts: [Chunk]) {
        for (index, part) in parts.enumerated() {
            let number = first + UInt64(index)
            guard number * chunkSize < size else { continue }
            if number == 0 { inline = 0 }
            chunks[number] = Chunk(frame: part.frame, length: min(part.length, Int(size - number * chunkSize)))
        }
    }

    /// Where a chunk's data ends.
    func dataEnd(_ number: UInt64) -> UInt64 {
        number * chunkSize + UInt64(number == 0 && inline > 0 ? inline : chunks[number]?.length ?? 0)
    }

    func isData(_ offset: UInt64) -> Bool { offset < dataEnd(offset / chunkSize) }

    /// The places where holes and data can begin.
    private func edges(from offset: UInt64) -> [UInt64] {
        let chunk = offset / chunkSize
        let last = size / chunkSize
        return [offset]
            + (chunk...max(chunk, last)).flatMap { [$0 * chunkSize, dataEnd($0)] }
            .filter { $0 > offset && $0 < size }.sorted()
    }

    func seekData(_ offset: UInt64) -> UInt64? { edges(from: offset).first { isData($0) } }
    func seekHole(_ offset: UInt64) -> UInt64 { edges(from: offset).first { !isData($0) } ?? size }
}

@Suite("Extents")
struct ExtentTests {
    @Test("are what an array of chunks is, after any puts, cuts and holes", arguments: 1...8)
    func equalAnArrayOfChunks(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let volume = try Volume(shape: .tiny, seed: seed)
        volume.doubt = 20
        let file = try volume.create("file")
        var model = ChunkModel()
        for step in 0..<400 {
            try change(&model, volume, file, &generator)
            let moment = Comment(rawValue: "seed \(seed), step \(step)")
            let attributes = try volume.attributes(file)
            try #require(attributes.size == model.size, moment)
            try #require(attributes.allocated == model.allocated, moment)
            try compare(model, volume, file, &generator, moment)
            if step % 20 == 0 {
                try #require(try volume.check() == [], moment)
                let usages = try volume.read { (tree) throws(Interruption) in try tree.blocks(limit: .max) }
                let live = Dictionary(uniqueKeysWithValues: usages.map { ($0.block, $0.usage.live) })
                try #require(live == model.live, moment)
            }
        }
    }

    private func change(
        _ model: inout ChunkModel, _ volume: Volume, _ file: InodeNumber, _ generator: inout SplitMix64
    ) throws {
        switch generator.below(10) {
        case 0, 1:
            let start = UInt64(generator.below(40 * Limits.chunkSize))
            let end = start + UInt64(1 + generator.below(3 * Limits.chunkSize))
            _ = try volume.run { (tree) throws(Interruption) in
                try tree.noteWrite(file, range: start..<end, by: volume.caller)
            }
            model.size = max(model.size, end)
        case 2:
            let size = UInt64(generator.below(45)) * chunkSize + UInt64(generator.pick([0, 0, 1, 700, Limits.chunkSize - 1]))
            try volume.truncate(file, to: size)
            size < model.size ? model.cut(to: size) : (model.size = size)
        case 3:
            let first = UInt64(generator.below(44))
            let chunks = first..<first + UInt64(1 + generator.below(8))
            let isComplete = try volume.run { (tree) throws(Interruption) in
                try tree.punch(chunks, of: file, by: volume.caller)
            }
            #expect(isComplete)
            for chunk in chunks { model.chunks[chunk] = nil }
            if first == 0 { model.inline = 0 }
        case 4:
            let count = generator.below(2049)
            try volume.run { (tree) throws(Interruption) in
                try tree.putInline(file, [UInt8](repeating: 5, count: count))
            }
            model.chunks[0] = nil
            model.inline = min(count, Int(model.size))
        default:
            try put(&model, volume, file, &generator)
        }
    }

    private func put(
        _ model: inout ChunkModel, _ volume: Volume, _ file: InodeNumber, _ generator: inout SplitMix64
    ) throws {
        let count = 1 + generator.below(generator.chance(30) ? 32 : 4)
        let first = UInt64(generator.below(44))
        let stored = generator.pick([1, 100, Limits.chunkSize - 1, Limits.chunkSize])
        let length = generator.chance(50) ? stored : 1 + generator.below(stored)
        let index = UInt32(generator.below(3))
        let frames = FrameRef(
            block: volume.newBlock(), key: .zero, index: index, offset: index * UInt32(Limits.sealedChunkSize),
            length: UInt32((count - 1) * Limits.sealedChunkSize + stored + Limits.frameOverhead))
        let kept = try volume.run { (tree) throws(Interruption) in
            try tree.putRun(file, firstChunk: first, count: UInt32(count), frames: frames, lastLength: UInt32(length))
        }
        let room = (model.size + chunkSize - 1) / chunkSize
        #expect(UInt64(kept) == min(UInt64(count), room > first ? room - first : 0))
        model.put(
            first,
            (0..<count).map { number in
                let isLast = number == count - 1
                var frame = frames
                frame.index += UInt32(number)
                frame.offset += UInt32(number * Limits.sealedChunkSize)
                frame.length = UInt32(isLast ? stored + Limits.frameOverhead : Limits.sealedChunkSize)
                return ChunkModel.Chunk(frame: frame, length: isLast ? length : Limits.chunkSize)
            })
    }

    private func compare(
        _ model: ChunkModel, _ volume: Volume, _ file: InodeNumber, _ generator: inout SplitMix64, _ moment: Comment
    ) throws {
        let number = UInt64(generator.below(46))
        let source = try volume.read { (tree) throws(Interruption) in try tree.chunk(number, of: file) }
        if number == 0, model.inline > 0 {
            try #require(source == .inline([UInt8](repeating: 5, count: model.inline)), moment)
        } else if let chunk = model.chunks[number] {
            try #require(source == .frame(chunk.frame, length: chunk.length), moment)
        } else {
            try #require(source == .hole, moment)
        }

        let offset = UInt64(generator.below(46 * Limits.chunkSize))
        let count = 1 + generator.below(6 * Limits.chunkSize)
        let plan = try volume.read { (tree) throws(Interruption) in
            try tree.readPlan(file, offset: offset, count: count)
        }
        try #require(plan == self.plan(model, offset, count), moment)

        guard offset < model.size else {
            #expect(throws: Errno.noSuchAddressOrDevice, moment) {
                try volume.read { (tree) throws(Interruption) in try tree.seekHole(file, from: offset) }
            }
            return
        }
        let hole = try volume.read { (tree) throws(Interruption) in try tree.seekHole(file, from: offset) }
        try #require(hole == model.seekHole(offset), moment)
        let data = try? volume.read { (tree) throws(Interruption) in try tree.seekData(file, from: offset) }
        try #require(data == model.seekData(offset), moment)
    }

    /// Chunk by chunk, holes joined.
    private func plan(_ model: ChunkModel, _ offset: UInt64, _ count: Int) -> [Piece] {
        var pieces: [Piece] = []
        var position = offset
        let end = min(model.size, offset + UInt64(count))
        while position < end {
            let chunk = position / chunkSize
            let chunkEnd = min(end, (chunk + 1) * chunkSize)
            let dataEnd = min(chunkEnd, model.dataEnd(chunk))
            if position < dataEnd {
                let take = Int(dataEnd - position)
                if let part = model.chunks[chunk] {
                    pieces.append(.frame(part.frame, skip: Int(position - chunk * chunkSize), take: take))
                } else {
                    pieces.append(.inline([UInt8](repeating: 5, count: take)[...]))
                }
                position = dataEnd
            }
            if position < chunkEnd {
                if case .hole(let before)? = pieces.last {
                    pieces[pieces.count - 1] = .hole(before + Int(chunkEnd - position))
                } else {
                    pieces.append(.hole(Int(chunkEnd - position)))
                }
                position = chunkEnd
            }
        }
        return pieces
    }

    @Test("refuse runs whose parts contradict each other")
    func invalidRuns() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        try volume.truncate(file, to: 1 << 30)
        let sealed = UInt32(Limits.sealedChunkSize)
        let runs: [(count: UInt32, length: UInt32, last: UInt32)] = [
            (0, sealed, 1), (1, sealed, 0), (1, sealed, UInt32(Limits.chunkSize) + 1), (1, 41, 1), (2, sealed, 1), (1, 2 * sealed, 1),
            (.max, .max, 1), (UInt32(2 * Limits.chunksPerBlock), UInt32(2 * Limits.chunksPerBlock) * sealed, UInt32(Limits.chunkSize)), (1, 100, 60),
        ]
        for run in runs {
            let frames = FrameRef(block: volume.newBlock(), key: .zero, index: 0, offset: 0, length: run.length)
            #expect(throws: Errno.invalidArgument) {
                try volume.run { (tree) throws(Interruption) in
                    _ = try tree.putRun(file, firstChunk: 0, count: run.count, frames: frames, lastLength: run.last)
                }
            }
        }
        #expect(throws: Errno.invalidArgument) {
            try volume.run { (tree) throws(Interruption) in
                try tree.putInline(file, [UInt8](repeating: 0, count: 2049))
            }
        }
    }

    @Test("of one frame each, splits keep every frame where it is")
    func splitInTheMiddle() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        let chunk = [UInt8](repeating: 1, count: Limits.chunkSize)
        _ = try volume.write(file, offset: 0, [UInt8](repeating: 7, count: 10 * Limits.chunkSize))
        _ = try volume.write(file, offset: 4 * chunkSize, chunk)
        let contents = try volume.contents(file)
        #expect(contents.prefix(4 * Limits.chunkSize).allSatisfy { $0 == 7 })
        #expect(contents.dropFirst(5 * Limits.chunkSize).allSatisfy { $0 == 7 })
        #expect(contents[4 * Limits.chunkSize..<5 * Limits.chunkSize].elementsEqual(chunk))
        let extents = try volume.read { (tree) throws(Interruption) in try tree.extents(limit: 10) }
        #expect(extents.map(\.place.firstChunk) == [0, 4, 5])
        #expect(extents.map(\.extent.count) == [4, 1, 5])
        #expect(extents[2].extent.frames.index == 5)
    }
}

@Suite("Large files")
struct LargeFileTests {
    /// A file of many runs with holes between them.
    private func scattered(_ volume: Volume, _ name: String, runs: Int) throws(Errno) -> InodeNumber {
        let file = try volume.create(name)
        try volume.truncate(file, to: UInt64(2 * runs) * chunkSize)
        let block = volume.newBlock()
        for start in stride(from: 0, to: runs, by: 100) {
            try volume.run { (tree) throws(Interruption) in
                for run in start..<min(start + 100, runs) {
                    let frames = FrameRef(block: block, key: .zero, index: UInt32(run), offset: 0, length: 100)
                    try tree.putRun(file, firstChunk: UInt64(2 * run), count: 1, frames: frames, lastLength: 50)
                }
            }
        }
        return file
    }

    @Test("are deleted at once and removed in batches")
    func delete() throws {
        let volume = try Volume()
        let file = try scattered(volume, "file", runs: 250)
        try volume.unlink("file")
        #expect(throws: Errno.staleNFSFileHandle) { try volume.contents(file) }
        #expect(try volume.check() == [])
        var batches = 1
        while try !volume.run({ (tree) throws(Interruption) in try tree.reapTrimmed(limit: 40) }) {
            #expect(try volume.check() == [])
            batches += 1
        }
        #expect(batches == 7)
        #expect(try volume.records().count == 3, "superblock, root, the dead block")
        #expect(try volume.check() == [])
    }

    @Test("that are emptied can be written again before the old runs are gone")
    func emptyAndWrite() throws {
        let volume = try Volume()
        let file = try scattered(volume, "file", runs: 100)
        #expect(try volume.truncate(file, to: 0).allocated == 0)
        _ = try volume.write(file, offset: 5 * chunkSize, [UInt8](repeating: 9, count: 5000))
        let expected = [UInt8](repeating: 0, count: 5 * Limits.chunkSize) + [UInt8](repeating: 9, count: 5000)
        #expect(try volume.contents(file) == expected)
        #expect(try volume.check() == [])
        try volume.reapAll()
        #expect(try volume.contents(file) == expected)
        #expect(try volume.check() == [])
        try volume.unlink("file")
        #expect(try volume.check() == [])
    }

    @Test("of very many runs are cut step by step, from the end")
    func cutInSteps() throws {
        let volume = try Volume()
        let runs = FileSystemLimits.runsPerTruncation + 100
        let file = try scattered(volume, "file", runs: runs)
        var changes = AttributeChanges()
        changes.size = 5
        let first = try volume.run { (tree) throws(Interruption) in
            try tree.setAttributes(of: file, to: changes, by: volume.caller)
        }
        #expect(!first.isComplete && first.attributes.size == 200 * chunkSize)
        #expect(try volume.check() == [])
        let second = try volume.run { (tree) throws(Interruption) in
            try tree.setAttributes(of: file, to: changes, by: volume.caller)
        }
        #expect(second.isComplete && second.attributes.size == 5 && second.attributes.allocated == 5)
        #expect(try volume.check() == [])
    }

    @Test("get holes step by step too, and are searched for holes only so far")
    func punchAndSeek() throws {
        let volume = try Volume()
        let runs = FileSystemLimits.runsPerTruncation + 10
        let file = try scattered(volume, "file", runs: runs)
        let hole = try volume.read { (tree) throws(Interruption) in try tree.seekHole(file, from: 0) }
        #expect(hole == 50)
        let all = UInt64(0)..<UInt64.max
        #expect(
            try volume.run { (tree) throws(Interruption) in try tree.punch(all, of: file, by: volume.caller) } == false)
        #expect(try volume.attributes(file).allocated == 500)
        #expect(try volume.run { (tree) throws(Interruption) in try tree.punch(all, of: file, by: volume.caller) })
        #expect(try volume.attributes(file).allocated == 0)
        #expect(try volume.attributes(file).size == UInt64(2 * runs) * chunkSize)
        #expect(throws: Errno.noSuchAddressOrDevice) {
            try volume.read { (tree) throws(Interruption) in try tree.seekData(file, from: 0) }
        }
        #expect(try volume.check() == [])
    }
}
