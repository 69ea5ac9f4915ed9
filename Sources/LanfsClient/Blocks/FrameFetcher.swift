import LanfsProtocol
import Synchronization

/// Frames on their way into memory: whoever else wants one waits for the fetch that is under way.
final class FrameFetcher: Sendable {
    /// Opened where they arrive; more are opened on any core.
    static let few = 2

    private let underWay = Mutex<[FrameCache.Name: Fetch]>([:])

    /// The fetches that together bring all of `frames`, started where they were not under way.
    func fetches(of frames: [FrameRef], for volume: Volume) -> [Fetch] {
        underWay.withLock { underWay in
            var fetches: [Fetch] = []
            var run: [FrameRef] = []
            func start() {
                guard !run.isEmpty else { return }
                let frames = run
                run = []
                let fetch = Fetch()
                Task.detached(executorPreference: frames.count <= Self.few ? volume.executor : nil) {
                    fetch.finish(await self.fetch(frames, for: volume))
                }
                for frame in frames { underWay[frame.name] = fetch }
                fetches.append(fetch)
            }
            for frame in frames {
                if let fetch = underWay[frame.name] {
                    if fetches.last !== fetch { fetches.append(fetch) }
                    continue
                }
                if let last = run.last, !frame.follows(last) { start() }
                run.append(frame)
            }
            start()
            return fetches
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

/// A fetch that any number of readers wait for; it goes on when one of them gives up.
final class Fetch: Sendable {
    typealias Outcome = Result<Void, VolumeError>

    private struct State {
        var outcome: Outcome?
        var waits: [OneWait<Outcome>] = []
    }

    private let state = Mutex(State())

    /// `nil` when the asking task was cancelled.
    var outcome: Outcome? {
        get async {
            let wait = OneWait<Outcome>()
            let outcome = state.withLock { state in
                if state.outcome == nil { state.waits.append(wait) }
                return state.outcome
            }
            if let outcome { return outcome }
            return await wait.value
        }
    }

    func finish(_ outcome: Outcome) {
        let waits = state.withLock { state in
            state.outcome = outcome
            defer { state.waits = [] }
            return state.waits
        }
        for wait in waits { wait.finish(outcome) }
    }
}

extension FrameRef {
    /// Directly after `other` in the same block, so that one request brings both.
    func follows(_ other: FrameRef) -> Bool {
        block == other.block && offset == other.offset + other.length && index == other.index + 1
    }
}
