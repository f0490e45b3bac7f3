// Front camera on a post: a foot that a table clamp holds down, and a head that slides on the post.
// The post is a round stick or tube, bought, not printed. Print both as they lie; the head wants supports under its plate.

part = "all";               // "foot", "head" or "all" (a picture of both)
post_mm = 16;               // diameter of the post
play_mm = 0.4;              // between post and plastic; more if your printer prints holes small
wall_mm = 5;
socket_height_mm = 45;      // how deep the post stands in the foot
foot_length_mm = 90;        // the end away from the post goes under the clamp
foot_width_mm = 50;
foot_height_mm = 8;
reach_mm = 60;              // from the post's middle to the camera plate
tilt_deg = 35;              // the camera looks down by this
screw_mm = 4.3;             // M4 screws through socket and ring
slit_mm = 3;                // the ring closes by this when its screw is tightened

include <camera_plate.scad>

$fn = 64;
tube_mm = post_mm + play_mm + 2 * wall_mm;

module foot() {
    difference() {
        union() {
            translate([-tube_mm / 2 - 9, -foot_width_mm / 2, 0])
                cube([foot_length_mm, foot_width_mm, foot_height_mm]);
            cylinder(d = tube_mm, h = foot_height_mm + socket_height_mm);
            cylinder(d1 = tube_mm + 18, d2 = tube_mm, h = foot_height_mm + 14);      // this corner breaks first
        }
        translate([0, 0, foot_height_mm]) cylinder(d = post_mm + play_mm, h = socket_height_mm + 1);
        translate([0, 0, foot_height_mm + socket_height_mm - 10]) rotate([90, 0, 0])
            cylinder(d = screw_mm, h = 2 * tube_mm, center = true);
    }
}

module head() {
    height_mm = board_mm + 4;
    difference() {
        union() {
            cylinder(d = tube_mm, h = height_mm);
            translate([-tube_mm / 2 - 10, -slit_mm / 2 - wall_mm, 0])
                cube([tube_mm / 2 + 4, slit_mm + 2 * wall_mm, height_mm]);
            translate([0, -6, 0]) cube([reach_mm + 1, 12, height_mm]);
            translate([reach_mm, 0, height_mm / 2]) wedge(height_mm);
        }
        translate([0, 0, -1]) cylinder(d = post_mm + play_mm, h = height_mm + 2);
        translate([-tube_mm, -slit_mm / 2, -1]) cube([tube_mm, slit_mm, height_mm + 2]);
        translate([-tube_mm / 2 - 4, 0, height_mm / 2]) rotate([90, 0, 0])
            cylinder(d = screw_mm, h = 2 * tube_mm, center = true);
        translate([reach_mm, 0, height_mm / 2]) tilted() translate([0, 0, -cable_hole_mm])
            cylinder(d = cable_hole_mm + 2, h = 2 * cable_hole_mm);
    }
    translate([reach_mm, 0, height_mm / 2]) tilted() camera_plate();
}

// At the arm's end, the plate's face looking outward and down.
module tilted() {
    translate([cable_hole_mm, 0, 0]) rotate([0, 90 + tilt_deg, 0]) children();
}

module wedge(height_mm) {
    hull() {
        translate([-1, -6, -height_mm / 2]) cube([1, 12, height_mm]);
        tilted() translate([0, 0, 0.5]) cube([height_mm, board_mm + 4, 1], center = true);
    }
}

if (part == "foot" || part == "all") foot();
if (part == "head") head();
if (part == "all") translate([0, 0, foot_height_mm + socket_height_mm + 25]) head();
