import LanfsProtocol
import Synchronization

/// Frames on their way into memory: whoever else wants one waits for the fetch that is under way.
final class FrameFetcher: Sendable {
    /// Opened where they arrive; more are opened on any core.
    static let few = 2

    typealias Fetch = Task<Result<Void, VolumeError>, Never>

    private let underWay = Mutex<[FrameCache.Name: Fetch]>([:])

    /// The fetches that together bring all of `frames`, started where they were not under way.
    func tasks(for frames: [FrameRef], of volume: Volume) -> [Fetch] {
        underWay.withLock { underWay in
            var tasks: [Fetch] = []
            var run: [FrameRef] = []
            func start() {
                guard !run.isEmpty else { return }
                let frames = run
                run = []
                let task = Fetch.detached(executorPreference: frames.count <= Self.few ? volume.executor : nil) {
                    await self.fetch(frames, for: volume)
                }
                for frame in frames { underWay[frame.name] = task }
                tasks.append(task)
            }
            for frame in frames {
                if let task = underWay[frame.name] {
                    if tasks.last != task { tasks.append(task) }
                    continue
                }
                if let last = run.last, !frame.follows(last) { start() }
                run.append(frame)
            }
            start()
            return tasks
        }
    }

    /// `frames`: neighbours in one block.
    private func fetch(_ frames: [FrameRef], for volume: Volume) async -> Result<Void, VolumeError> {
        let result: Result<Void, VolumeError>
        do throws(VolumeError) {
            let opened = try await volume.blocks.frames(of: frames)
            volume.update { state in
                for (frame, bytes) in zip(frames, opened) { state.frames.insert(bytes, as: frame.name) }
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        underWay.withLock { underWay in
            for frame in frames { underWay[frame.name] = nil }
        }
        return result
    }
}

extension FrameRef {
    /// Directly after `other` in the same block, so that one request brings both.
    func follows(_ other: FrameRef) -> Bool {
        block == other.block && offset == other.offset + other.length && index == other.index + 1
    }
}
