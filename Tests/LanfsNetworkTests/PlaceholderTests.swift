import Testing
@testable import LanfsNetwork
@Test func placeholder() { #expect(1 + 1 == 2) }
