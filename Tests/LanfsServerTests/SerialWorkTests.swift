import Dispatch
import Synchronization
import Testing

@testable import LanfsServer

@Suite struct `Work that is done one piece after the other` {
    @Test func `is left to the thread that is at it, which does all of it in order`() {
        let work = SerialWork()
        let done = Mutex<[Int]>([])
        work.run {
            // Whoever comes while one is at it goes on at once, another thread as well.
            work.run { done.withLock { $0.append(2) } }
            let other = DispatchSemaphore(value: 0)
            DispatchQueue.global().async {
                work.run { done.withLock { $0.append(3) } }
                other.signal()
            }
            other.wait()
            done.withLock { $0.append(1) }
        }
        #expect(done.withLock { $0 } == [1, 2, 3])
        work.run { done.withLock { $0.append(4) } }
        #expect(done.withLock { $0 } == [1, 2, 3, 4])
    }

    @Test func `never runs side by side and is never forgotten, from however many threads it comes`() {
        let work = SerialWork()
        let inside = Atomic(0)
        let count = Atomic(0)
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            for _ in 0..<2000 {
                work.run {
                    #expect(inside.add(1, ordering: .sequentiallyConsistent).newValue == 1)
                    count.add(1, ordering: .sequentiallyConsistent)
                    inside.subtract(1, ordering: .sequentiallyConsistent)
                }
            }
        }
        // The last one to come may have left its work to a thread that has returned to us by now: all of it is done.
        #expect(count.load(ordering: .sequentiallyConsistent) == 16_000)
    }
}
