import LanfsProtocol
import NIOCore
import Testing

@testable import LanfsClient

@Suite struct `A sealed block` {
    @Test(arguments: [[0], [1], [32_767, 32_768, 1], [100, 200, 300]])
    func `opens frame by frame, and each frame only at its own place`(_ sizes: [Int]) throws {
        let payloads = sizes.enumerated().map { index, size in [UInt8](repeating: UInt8(index + 1), count: size) }
        let block = SealedBlock(frames: payloads)
        let name = block.bytes.withUnsafeReadableBytes { BlockID(hashing: $0) }
        #expect(name == block.id)
        for (frame, payload) in zip(block.frames, payloads) {
            let sealed = try #require(block.bytes.getBytes(at: Int(frame.offset), length: Int(frame.length)))
            let opened = try sealed.withUnsafeBytes { try frame.open($0) }
            #expect(opened == payload)
            var moved = frame
            moved.index += 1
            #expect(throws: (any Error).self) { try sealed.withUnsafeBytes { try moved.open($0) } }
        }
    }

    @Test func `names a run of frames from the first to the last byte`() {
        let block = SealedBlock(frames: Array(repeating: [UInt8](repeating: 7, count: Limits.chunkSize), count: 4))
        let run = block.run(first: 1, count: 3)
        #expect(run.offset == block.frames[1].offset)
        #expect(run.length == 3 * UInt32(Limits.sealedChunkSize))
    }
}

@Suite struct `Unsaved data of a file` {
    @Test func `a write lands on top of what was there`() {
        var file = DirtyFile()
        let grown = [UInt8]([5, 6]).withUnsafeBytes { file.write($0, at: 3, chunk: 0, version: 1, base: [1, 2]) }
        #expect(grown == 5)
        #expect(file[0]?.bytes == [1, 2, 0, 5, 6])
    }

    @Test func `a change during a seal makes another version`() throws {
        var file = DirtyFile()
        _ = [UInt8]([1]).withUnsafeBytes { file.write($0, at: 0, chunk: 4, version: 1, base: []) }
        let first = file.takeForSealing(4)
        let taken = try #require(first)
        let second = file.takeForSealing(4)
        #expect(second == nil, "one seal of the same bytes is enough")
        _ = [UInt8]([2]).withUnsafeBytes { file.write($0, at: 0, chunk: 4, version: 2, base: []) }
        #expect(file[4]?.version != taken.version)
        let third = file.takeForSealing(4)
        #expect(third?.bytes == [2])
    }

    @Test func `cutting forgets what lies behind, so that growing again shows zeros`() {
        var file = DirtyFile()
        _ = [UInt8]([1, 2, 3, 4]).withUnsafeBytes { file.write($0, at: 0, chunk: 0, version: 1, base: []) }
        let cut = file.cut(0, to: 2, version: 2)
        #expect(cut == 2)
        #expect(file[0]?.bytes == [1, 2])
        let dropped = file.drop(0..<UInt64.max)
        #expect(dropped == 2)
        #expect(file.isEmpty)
    }
}

@Suite struct `The frame cache` {
    private func name(_ index: UInt32) -> FrameCache.Name { FrameCache.Name(block: .zero, index: index) }

    /// Frames of small files cost more than their bytes.
    @Test(arguments: [1, 100, 32_768]) func `stays within its limit`(_ size: Int) {
        let frame = [UInt8](repeating: 7, count: size)
        var cache = FrameCache(limit: 3 * (size + FrameCache.overhead) + 1)
        for index in 0..<100 { cache.insert(frame, as: name(UInt32(index))) }
        #expect((0..<100).count { cache.contains(name(UInt32($0))) } == 3)
    }

    @Test func `gives up what was read to its end before what nobody has read yet`() {
        var cache = FrameCache(limit: 4 * (1 + FrameCache.overhead))
        for index in 0..<4 { cache.insert([0], as: name(UInt32(index))) }
        let read = cache.frame(name(2), isLastUse: true)
        #expect(read == [0])
        cache.insert([0], as: name(9))
        #expect(!cache.contains(name(2)))
        #expect([0, 1, 3, 9].allSatisfy { cache.contains(name($0)) })
    }
}

@Suite struct `Reading ahead` {
    @Test func `starts when a file is read in order and stays one window ahead`() {
        var ahead = ReadAhead()
        var asked: [Range<UInt64>] = []
        for start in stride(from: UInt64(0), to: 32 << 20, by: 1 << 20) {
            let range = ahead.next(after: start..<start + (1 << 20), size: .max)
            if !range.isEmpty { asked.append(range) }
        }
        #expect(!asked.isEmpty)
        for (earlier, later) in zip(asked, asked.dropFirst()) { #expect(earlier.upperBound == later.lowerBound) }
    }

    @Test func `does not start for reads here and there`() {
        var ahead = ReadAhead()
        for start in [50, 7, 90, 3, 66, 20] as [UInt64] {
            #expect(ahead.next(after: start << 20..<(start << 20) + 4096, size: .max).isEmpty)
        }
    }
}

@Suite struct `Work set aside` {
    private func make(_ commits: [SetAside.Commit], log: [UInt8], blocks: [(id: BlockID, bytes: [UInt8])]) -> SetAside {
        let server = ServerID(word0: 1, word1: 0, word2: 0, word3: 0)
        let config = VolumeConfig(
            version: 1, servers: [Member(server: server, weight: 1)], keepers: Keepers([server]), replicas: 2)
        let base = RootRecord(
            creating: .zero, config: config,
            contents: [5], ballot: Ballot(counter: 1, proposer: 2))
        return SetAside(base: base, commits: commits, log: log, blocks: blocks)
    }

    @Test func `comes back from its file as it was`() throws {
        let commits = [SetAside.Commit(contents: [1, 2, 3], operations: 7), SetAside.Commit(contents: [4], operations: 9)]
        let aside = make(commits, log: [8, 8], blocks: [(id: .zero, bytes: [9, 9, 9])])
        let back = try SetAside(decoding: aside.encoded())
        #expect(back.base == aside.base)
        #expect(back.commits == commits)
        #expect(back.log == [8, 8])
        #expect(back.blocks.map(\.bytes) == [[9, 9, 9]])
    }

    @Test func `that is damaged is refused, whatever byte is missing`() {
        let bytes = make([SetAside.Commit(contents: [1], operations: 1)], log: [], blocks: []).encoded()
        for count in 0..<bytes.count {
            #expect(throws: DecodingError.self) { try SetAside(decoding: Array(bytes.prefix(count))) }
        }
    }
}

@Suite struct `Patience` {
    @Test func `ends with the work, or with the time`() async {
        #expect(await patiently(upTo: nil, on: nil) { 1 } == 1)
        let slow = await patiently(upTo: .milliseconds(20), on: nil) { () async -> Int in
            try? await Task.sleep(for: .seconds(30))
            return 2
        }
        #expect(slow == nil)
    }

    @Test func `ends when the one who waits is cancelled`() async {
        let waiting = Task {
            await patiently(upTo: nil, on: nil) { () async -> Int in
                try? await Task.sleep(for: .seconds(30))
                return 3
            }
        }
        waiting.cancel()
        #expect(await waiting.value == nil)
    }
}
