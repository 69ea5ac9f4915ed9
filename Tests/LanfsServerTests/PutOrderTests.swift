import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsServer

@Suite("The order of puts and flushes") struct PutOrderTests {
    @Test("with nothing to wait for, a flush goes at once")
    func nothing() {
        var order = PutOrder()
        #expect(order.wait(.flush(expecting: []), id: 1).map(\.id) == [1])
        #expect(order.wait(.flush(expecting: []), id: 2).map(\.id) == [2])
    }

    @Test("a flush waits for the puts before it and not for those after")
    func pipelined() {
        var order = PutOrder()
        let first = order.began()
        let second = order.began()
        #expect(order.wait(.flush(expecting: []), id: 1).isEmpty)
        let third = order.began()
        #expect(order.finished(second, nil).isEmpty)
        #expect(order.finished(first, nil).map(\.id) == [1])
        #expect(order.wait(.flush(expecting: []), id: 2).isEmpty)
        #expect(order.finished(third, nil).map(\.id) == [2])
    }

    @Test("a refused put is told by the next flush, once")
    func refusal() {
        var order = PutOrder()
        let refusal = Refusal(.full, "")
        let put = order.began()
        #expect(order.wait(.list(after: nil), id: 1).isEmpty)
        #expect(order.wait(.flush(expecting: []), id: 2).isEmpty)
        let ready = order.finished(put, refusal)
        #expect(ready.map(\.id) == [1, 2])
        #expect(ready.map(\.refusal) == [nil, refusal])
        #expect(order.wait(.flush(expecting: []), id: 3).map(\.refusal) == [nil])
    }

    /// Against the rule itself: a request goes when, and as soon as, every put that came before it is finished.
    @Test("random orders of arrival and ending", arguments: 0..<50 as Range<UInt64>)
    func random(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var order = PutOrder()
        var arrived = 0
        var unfinished: [(number: Int, arrival: Int)] = []
        var waiting: [(id: UInt32, arrival: Int)] = []
        for id in 0..<UInt32(200) {
            let ready: [PutOrder.Waiting]
            arrived += 1
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1:
                unfinished.append((order.began(), arrived))
                ready = []
            case 2:
                waiting.append((id, arrived))
                ready = order.wait(.flush(expecting: []), id: id)
            default:
                guard let index = unfinished.indices.randomElement(using: &random) else { continue }
                ready = order.finished(unfinished.remove(at: index).number, nil)
            }
            let oldest = unfinished.map(\.arrival).min() ?? .max
            let expected = waiting.prefix { $0.arrival < oldest }.map(\.id)
            waiting.removeFirst(expected.count)
            #expect(ready.map(\.id) == expected, "seed \(seed), step \(id)")
        }
    }
}
