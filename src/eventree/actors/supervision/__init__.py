"""Supervisors: child specs, restart strategies and intensity, trees and pools."""
