import Testing
@testable import LanfsTree
@Test func placeholder() { #expect(1 + 1 == 2) }
